/**
 * `npm run test:cgroup2`: the conformance suite on pure cgroup v2 under systemd, in a Debian guest.
 *
 *   --runtime PATH   a path in the guest, instead of our own executable (such as /usr/sbin/runc)
 *   --only TEXT      passed on to the suite
 *   --driver NAME    "cgroupfs", "systemd", or "both" one after the other
 *   --engines        instead: Docker, containerd and Podman with systemd as cgroup driver
 *   --selinux        boots with SELinux, permissive, instead of AppArmor
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
  "apparmor", "selinux-policy-default", "policycoreutils",
  "uidmap", "dbus-user-session", "libpam-systemd", // an ordinary user, to whom cgroups are delegated
];
const enginePackages = ["docker.io", "podman", "containerd"];
/** An emulated processor runs the suite some ten times slower than this machine. */
const timeoutMs = 60 * 60_000;
const patience = "6";
/** Somebody with a systemd of their own and with IDs for newuidmap. */
const ordinaryUser =
  "useradd --create-home --uid 1000 worker && systemctl start dbus.socket systemd-logind user@1000";
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
      selinux: { type: "boolean", default: false },
      engines: { type: "boolean", default: false },
    },
  });
  const missing = installPackages("debian-guest");
  if (missing.length > 0)
    throw new Error(`Cannot build a guest without ${missing.map((row) => row.name).join(", ")}`);
  if (!existsSync("dist/manyworlds"))
    throw new Error('Expected dist/manyworlds: run "npm run build" first');
  const guest = await buildDebianGuest(
    values.engines ? [...guestPackages, ...enginePackages] : guestPackages,
  );
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
    const engines = ["./bun test/engines/main.ts --systemd", "--runtime", values.runtime, ...only];
    const runs = values.engines
      ? [engines.join(" ")]
      : values.driver === "both"
        ? ["cgroupfs", "systemd"].map(run)
        : [run(values.driver)];
    return await runInDebianGuest(guest, {
      command: `cd /project && ${ordinaryUser}; ${runs.join("; a=$?; ")}; exit $((a + $?))`,
      parameters: [
        ...(hierarchies[values.hierarchy] ?? []),
        ...(values.selinux ? ["security=selinux", "selinux=1", "enforcing=0"] : []),
      ],
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
    "test/engines",
    "dist",
  ])
    cpSync(part, join(folder, part), { recursive: true, verbatimSymlinks: true });
  copyFileSync(bunExecutable(), join(folder, "bun"));
  return folder;
}
