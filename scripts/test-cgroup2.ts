/**
 * `npm run test:cgroup2`: the conformance suite on pure cgroup v2 under systemd, in a Debian guest.
 *
 *   --runtime PATH   a path in the guest, instead of our own executable (such as /usr/sbin/runc)
 *   --only TEXT      passed on to the suite
 */
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { installPackages } from "./apt-packages.ts";
import { bunExecutable } from "./bun.ts";
import { buildDebianGuest, packFolder } from "./debian-guest/build.ts";
import { runInDebianGuest } from "./debian-guest/run.ts";

// biome-ignore format: table
const guestPackages = [
  "runc", "crun", "busybox-static", "procps", "iproute2", "libcap2-bin",
  "uidmap", "dbus-user-session", "libpam-systemd", // an ordinary user, to whom cgroups are delegated
];
/** An emulated processor runs the suite some ten times slower than this machine. */
const timeoutMs = 45 * 60_000;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string", default: "/project/dist/manyworlds-oci" },
      only: { type: "string", multiple: true, default: [] },
    },
  });
  const missing = installPackages("debian-guest");
  if (missing.length > 0)
    throw new Error(`Cannot build a guest without ${missing.map((row) => row.name).join(", ")}`);
  if (!existsSync("dist/manyworlds"))
    throw new Error('Expected dist/manyworlds: run "npm run build" first');
  const guest = await buildDebianGuest(guestPackages);
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-cgroup2-"));
  try {
    const project = join(folder, "project.erofs");
    await packFolder(stageProject(join(folder, "project")), project);
    const only = values.only.flatMap((text) => ["--only", text]);
    const suite = ["test/conformance/main.ts", "--runtime", values.runtime, ...only];
    return await runInDebianGuest(guest, {
      command: `cd /project && ./bun ${suite.join(" ")}`,
      project,
      memoryMiB: 2048,
      cpus: 2,
      timeoutMs,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What the guest needs of the project; Bun runs the suite's TypeScript as it is. */
function stageProject(folder: string): string {
  mkdirSync(folder);
  for (const part of [
    "package.json",
    "linux",
    "oci",
    "runtime",
    "scripts",
    "test/conformance",
    "dist",
  ])
    cpSync(part, join(folder, part), { recursive: true, verbatimSymlinks: true });
  copyFileSync(bunExecutable(), join(folder, "bun"));
  return folder;
}
