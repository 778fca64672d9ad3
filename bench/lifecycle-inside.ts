/**
 * What lifecycle.ts runs in a mount namespace: `lifecycle-inside.ts DIRECTORY RESULTS [--quick]`
 * measures and writes its reports as JSON.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Candidate, measure } from "./measure.ts";
import { ociExecutable } from "./ours.ts";
import { busyboxRoot } from "./peers/images.ts";
import { type Goal, type Report, roundsOf } from "./report.ts";

interface Runtime {
  readonly name: string;
  readonly file: string;
  readonly state: string;
}

// biome-ignore format: table
const files: readonly (readonly [name: string, file: string])[] = [
  ["manyworlds oci", ociExecutable],
  ["runc",           "/usr/sbin/runc"],
  ["crun",           "/usr/bin/crun"],
];

const goals: readonly Goal[] = [
  { ours: "manyworlds oci", peer: "runc", atMost: 0.4 },
  { ours: "manyworlds oci", peer: "crun", atMost: 1 },
];

async function main([directory = "", results = "", quick]: readonly string[]): Promise<void> {
  const runtimes = files
    .filter(([, file]) => existsSync(file))
    .map(([name, file]) => ({ name, file, state: join(directory, name.replace(" ", "-")) }));
  for (const { state } of runtimes) mkdirSync(state);
  const options = { quick: quick !== undefined };
  const reports = [
    await benchRun(runtimes, directory, roundsOf(40, options)),
    await benchCreate(runtimes, directory, roundsOf(40, options)),
    await benchExec(runtimes, directory, roundsOf(60, options)),
  ];
  writeFileSync(results, JSON.stringify(reports));
}

/** bundle-run.ts measures the same where crun 1.8 refuses the machine. */
async function benchRun(
  runtimes: readonly Runtime[],
  directory: string,
  rounds: number,
): Promise<Report> {
  const bundle = writeBundle(join(directory, "run"), ["/bin/true"]);
  const candidates = runtimes.map(({ name, file, state }): Candidate => {
    const id = `bench-run-${process.pid}-${name.replace(" ", "-")}`;
    return { name, command: [file, "--root", state, "run", "--bundle", bundle, id] };
  });
  const measured = await measure(candidates, { rounds, warmups: 2 });
  return { title: "run of /bin/true", rounds, measured, goals };
}

async function benchCreate(
  runtimes: readonly Runtime[],
  directory: string,
  rounds: number,
): Promise<Report> {
  const bundle = writeBundle(join(directory, "short"), ["/bin/true"]);
  const candidates = runtimes.map(({ name, file, state }): Candidate => {
    const runtime = `${file} --root ${state}`;
    const id = `bench-${process.pid}-${name.replace(" ", "-")}`;
    const verbs = [`create --bundle ${bundle} ${id}`, `start ${id}`, `delete --force ${id}`];
    const script = verbs.map((verb) => `${runtime} ${verb}`).join(" && ");
    return { name, command: ["/bin/busybox", "sh", "-c", script] };
  });
  const floor = { name: "floor: three processes", command: floorOf(3) };
  const measured = await measure([floor, ...candidates], { rounds, warmups: 2 });
  const title = "create + start + delete of /bin/true";
  return { title, rounds, measured, goals, notes: ["three processes, started by one shell"] };
}

function floorOf(count: number): readonly string[] {
  const script = Array.from({ length: count }, () => "/bin/busybox true").join(" && ");
  return ["/bin/busybox", "sh", "-c", script];
}

async function benchExec(
  runtimes: readonly Runtime[],
  directory: string,
  rounds: number,
): Promise<Report> {
  const bundle = writeBundle(join(directory, "long"), ["/bin/sleep", "1000"]);
  const ids = runtimes.map(({ name }) => `bench-exec-${process.pid}-${name.replace(" ", "-")}`);
  try {
    for (const [index, { file, state }] of runtimes.entries()) {
      const verb = ["--root", state, "run", "--detach", "--bundle", bundle, ids[index] ?? ""];
      execFileSync(file, verb, { stdio: "ignore" });
    }
    const candidates = runtimes.map(({ name, file, state }, index) => ({
      name,
      command: [file, "--root", state, "exec", ids[index] ?? "", "/bin/true"],
    }));
    const measured = await measure(candidates, { rounds, warmups: 2 });
    return { title: "exec of /bin/true in a running container", rounds, measured, goals };
  } finally {
    for (const [index, { file, state }] of runtimes.entries())
      execFileSync(file, ["--root", state, "delete", "--force", ids[index] ?? ""]);
  }
}

/** The config that `runc spec` writes, without terminal and limits that root may not raise here. */
function writeBundle(bundle: string, args: readonly string[]): string {
  mkdirSync(bundle);
  execFileSync("runc", ["spec", "--bundle", bundle]);
  const file = join(bundle, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8"));
  config.process.terminal = false;
  config.process.args = args;
  delete config.process.rlimits;
  config.root.path = busyboxRoot();
  writeFileSync(file, JSON.stringify(config));
  return bundle;
}

await main(process.argv.slice(2));
