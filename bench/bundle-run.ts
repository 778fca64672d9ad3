/**
 * Whole `oci run` of /bin/true from a busybox bundle beside runc and crun with the same bundle, and
 * bwrap with the same namespaces; below them the same file without any isolation.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { executableFlags } from "../scripts/build.ts";
import { bunExecutable } from "../scripts/bun.ts";
import { type Candidate, measure } from "./measure.ts";
import { ociExecutable } from "./ours.ts";
import { busyboxRoot } from "./peers/images.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";
import { measurePhases } from "./run-phases.ts";

export const bench: Bench = { name: "bundle-run", title: "oci run of /bin/true", run };

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-bundle-"));
  try {
    const bundle = join(directory, "bundle");
    writeBundle(bundle);
    const rounds = roundsOf(60, options);
    const ours = runtime("manyworlds oci", ociExecutable, directory, bundle);
    const measured = await measure(
      [
        { name: "floor: busybox true", command: ["/bin/busybox", "true"] },
        { name: "floor: empty program of Bun", command: [emptyProgram(directory)] },
        ours,
        { name: "manyworlds oci, not thawed", command: [...cold, ...ours.command] },
        runtime("runc", "runc", directory, bundle),
        runtime("crun", "crun", directory, bundle),
        { name: "bwrap", command: bubblewrap },
      ],
      { rounds, warmups: 3 },
    );
    return [
      {
        title: bench.title,
        rounds,
        measured,
        goals: [
          { ours: "manyworlds oci", peer: "runc", atMost: 0.4 },
          { ours: "manyworlds oci", peer: "crun", atMost: Number.POSITIVE_INFINITY },
          { ours: "manyworlds oci", peer: "bwrap", atMost: Number.POSITIVE_INFINITY },
        ],
        notes: [
          "bundle: runc spec, without its terminal; each runtime with a state folder of its own",
          "phases of manyworlds oci, medians (lower quartiles):",
          ...measurePhases(ours.command, rounds, directory),
        ],
      },
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function runtime(name: string, file: string, directory: string, bundle: string): Candidate {
  const state = join(directory, name.replace(" ", "-"));
  mkdirSync(state);
  const id = `bench-${process.pid}-${name.replace(" ", "-")}`;
  return { name, command: [file, "--root", state, "run", "--bundle", bundle, id] };
}

/** As the first start of a boot (decision 130), which this is to be compared with. */
const cold = ["/usr/bin/env", "MANYWORLDS_COLD=1"];

const bubblewrap = [
  ...["bwrap", "--bind", busyboxRoot(), "/", "--proc", "/proc", "--dev", "/dev"],
  ...["--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-net", "/bin/true"],
];

/** What no executable of ours can be faster than: compiled as ours is, and does nothing. */
function emptyProgram(directory: string): string {
  const source = join(directory, "empty.ts");
  writeFileSync(source, "export {};\n");
  const outfile = join(directory, "empty");
  const args = ["build", ...executableFlags, source, "--outfile", outfile];
  execFileSync(bunExecutable(), args, { stdio: "ignore" });
  return outfile;
}

/** The config that `runc spec` writes, for /bin/true and without a terminal. */
function writeBundle(bundle: string): void {
  mkdirSync(bundle);
  execFileSync("runc", ["spec", "--bundle", bundle]);
  const file = join(bundle, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8")) as {
    process: { terminal: boolean; args: string[]; rlimits?: unknown };
    root: { path: string };
  };
  config.process.terminal = false;
  config.process.args = ["/bin/true"];
  // Root without CAP_SYS_RESOURCE may not raise hard limits (design.md, facts).
  delete config.process.rlimits;
  config.root.path = busyboxRoot();
  writeFileSync(file, JSON.stringify(config));
}
