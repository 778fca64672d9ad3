/**
 * `npm run test:kvm`: our KVM back end on a KVM with hardware behind it: a Debian guest under QEMU,
 * which emulates AMD's SVM. In it, tiny guests, our small kernel and Debian's own boot under us.
 *
 *   --only TEXT    mocha's --grep
 *   --acceptance   instead: what `run` promises (test/acceptance), through dist/manyworlds on KVM
 *
 * With MANYWORLDS_TEST_COUNTS it writes how many tests passed to that file, as scripts/test.ts asks.
 */
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { installPackages } from "./apt-packages.ts";
import { bunExecutable } from "./bun.ts";
import { buildDebianGuest, packFolder } from "./debian-guest/build.ts";
import { runInDebianGuest } from "./debian-guest/run.ts";

const guestPackages = ["busybox-static", "docker-registry", "iproute2"];
/**
 * A guest within an emulated machine: each test takes a second or two, on a busy machine tens of
 * them. The whole takes about four minutes of one processor.
 */
const timeoutMs = 25 * 60_000;
const testTimeoutMs = 180_000;
/** Longer than any test may be silent. */
const silenceMs = 200_000;
/** What runs in the guest. */
interface Selection {
  /** Folders and files of the project. */
  readonly parts: readonly string[];
  readonly suites: readonly string[];
  readonly grep: string;
}

const monitorSuites = [
  "test/vmm-sandbox/kvm/kvm.test.ts",
  "test/vmm-sandbox/vm.test.ts",
  "test/vmm-sandbox/nested/kernels.test.ts",
  "test/vmm-sandbox/nested/processes.test.ts",
  "test/vmm-sandbox/nested/machines.test.ts",
  "test/vmm-sandbox/monitor/confined-sandbox.test.ts",
  "test/vmm-sandbox/snapshot/machines.test.ts",
  "test/engine/vm/kvm-machines.test.ts",
];
/** The project's own folders, and what its users start. */
const monitorParts = [
  ...["index.ts", "linux", "oci", "image", "runtime", "registry-client", "vmm-sandbox", "engine"],
  ...["scripts", "test/vmm-sandbox", "test/engine/vm", "test/cli", "test/registry-client"],
  "dist/manyworlds",
];
const acceptanceParts = ["test/acceptance", "test/cli", "test/registry-client", "dist/manyworlds"];

const countsMark = "manyworlds-test-counts:";

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: "" },
      acceptance: { type: "boolean", default: false },
    },
  });
  const selection = values.acceptance ? acceptance() : monitor(values.only);
  const missing = installPackages("debian-guest");
  if (missing.length > 0) return refuse(missing.map(({ name }) => name).join(", "));
  const kernels = guestKernels();
  const guest = await buildDebianGuest(guestPackages);
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-kvm-"));
  try {
    const project = join(folder, "project.erofs");
    await packFolder(stageProject(join(folder, "project"), kernels, selection), project);
    return await runInDebianGuest(guest, {
      command: "/bin/sh /project/test-kvm.sh",
      project,
      memoryMiB: 3072,
      cpus: 1,
      timeoutMs,
      silenceMs,
      onLine: takeCounts,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function monitor(grep: string): Selection {
  needBuild();
  return { parts: monitorParts, suites: monitorSuites, grep };
}

/** The command as it is shipped: what compiles code as it starts takes too long there. */
function acceptance(): Selection {
  needBuild();
  return {
    parts: ["linux", "oci", "image", "registry-client", "scripts", ...acceptanceParts],
    suites: ["test/acceptance/acceptance.test.ts"],
    grep: "vm-kvm",
  };
}

function needBuild(): void {
  if (existsSync("dist/manyworlds")) return;
  throw new Error('Expected dist/manyworlds: run "npm run build" first');
}

/** As a part of all tests, one that cannot run counts as skipped. */
function refuse(missing: string): number {
  const message = `Cannot build a Debian guest without ${missing}`;
  const file = process.env["MANYWORLDS_TEST_COUNTS"];
  if (file === undefined) throw new Error(message);
  console.error(`  skip Linux on KVM: ${message}`);
  writeFileSync(file, JSON.stringify({ passed: 0, failed: 0, skipped: 1, finished: true }));
  return 0;
}

/** The guest's mocha-reporter.ts writes the counts to a file in the guest; the script prints it. */
function takeCounts(line: string): boolean {
  if (!line.startsWith(countsMark)) return false;
  const file = process.env["MANYWORLDS_TEST_COUNTS"];
  if (file !== undefined) writeFileSync(file, line.slice(countsMark.length));
  return true;
}

/** The small kernel is built when it is not there: some minutes, once. */
function guestKernels(): string {
  const folder = ".cache/guest-kernel/current";
  if (existsSync(folder)) return folder;
  const { status } = spawnSync("npm", ["run", "guest:kernel"], { stdio: "inherit" });
  if (status !== 0) throw new Error('Cannot build the guest kernel: "npm run guest:kernel" failed');
  return folder;
}

function stageProject(folder: string, kernels: string, selection: Selection): string {
  mkdirSync(join(folder, "kernels"), { recursive: true });
  for (const part of ["package.json", ...selection.parts])
    cpSync(part, join(folder, part), { recursive: true, verbatimSymlinks: true });
  for (const name of ["vmlinux", "bzImage"])
    copyFileSync(join(kernels, name), join(folder, "kernels", name));
  const done = new Set<string>();
  for (const name of ["mocha", "iced-x86"]) copyPackage(name, folder, done);
  copyFileSync(bunExecutable(), join(folder, "bun"));
  writeFileSync(join(folder, "test-kvm.sh"), guestScript(selection));
  return folder;
}

/** A package and what it depends on, from where npm installed them. */
function copyPackage(name: string, folder: string, done: Set<string>): void {
  const from = join("node_modules", name);
  if (done.has(name) || !existsSync(from)) return;
  done.add(name);
  cpSync(from, join(folder, from), { recursive: true });
  // SAFE: npm writes `dependencies` as an object of names, or not at all.
  const { dependencies = {} } = JSON.parse(readFileSync(join(from, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
  };
  for (const dependency of Object.keys(dependencies)) copyPackage(dependency, folder, done);
}

function guestScript({ suites, grep }: Selection): string {
  const only = grep === "" ? "" : ` --grep '${grep.replaceAll("'", "")}'`;
  return `modprobe kvm_amd || exit 1
modprobe tun
mkdir -p /tmp/debian
ln -s /boot/vmlinuz-* /tmp/debian/vmlinuz
ln -s /lib/modules/$(uname -r) /tmp/debian/modules
export GUEST_VMLINUX=/project/kernels/vmlinux GUEST_BZIMAGE=/project/kernels/bzImage GUEST_DEBIAN=/tmp/debian
export MANYWORLDS_TEST_COUNTS=/tmp/counts MANYWORLDS_TEST_NAMES=1
export MANYWORLDS_TEST_COMMAND=/project/dist/manyworlds MANYWORLDS_KERNEL=/project/kernels
export MANYWORLDS_GUEST_KERNEL=/project/kernels
cd /project
./bun --bun node_modules/mocha/bin/mocha.js --no-config --exit --reporter ./scripts/mocha-reporter.ts \\
  --timeout ${testTimeoutMs}${only} ${suites.join(" ")}
status=$?
echo "${countsMark}$(cat /tmp/counts)"
exit $status
`;
}
