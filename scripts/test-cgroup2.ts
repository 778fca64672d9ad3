/**
 * `npm run test:cgroup2`: the conformance suite on pure cgroup v2 under systemd, in a Debian guest.
 *
 *   --runtime PATH   a path in the guest, instead of our own executable (such as /usr/sbin/runc)
 *   --only TEXT      passed on to the suite
 *   --driver NAME    "cgroupfs", "systemd", or "both" one after the other
 *   --hierarchy NAME "unified", or systemd's "hybrid" and "legacy" with cgroup v1
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
const timeoutMs = 60 * 60_000;
const patience = "6";
/** Somebody with a systemd of their own and with IDs for newuidmap. */
const ordinaryUser =
  "useradd --create-home --uid 1000 worker && loginctl enable-linger worker && systemctl start user@1000.service";
// biome-ignore format: table
const hierarchies: Readonly<Record<string, readonly string[]>> = {
  unified: [],
  hybrid: ["systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=0"],
  legacy: ["systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1"],
};

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string", default: "/project/dist/manyworlds-oci" },
      only: { type: "string", multiple: true, default: [] },
      driver: { type: "string", default: "cgroupfs" },
      hierarchy: { type: "string", default: "unified" },
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
    const suite = ["./bun", "test/conformance/main.ts", "--patience", patience];
    const run = (driver: string) =>
      [
        ...suite,
        "--runtime",
        values.runtime,
        ...only,
        ...(driver === "systemd" ? ["--systemd"] : []),
      ].join(" ");
    const runs = values.driver === "both" ? ["cgroupfs", "systemd"].map(run) : [run(values.driver)];
    return await runInDebianGuest(guest, {
      command: `cd /project && ${ordinaryUser}; ${runs.join("; a=$?; ")}; exit $((a + $?))`,
      parameters: hierarchies[values.hierarchy] ?? [],
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
