/**
 * Linux saved when its agent dials, and restored: in a confined monitor and in this process, on KVM
 * where hardware is behind it (`npm run test:kvm`), else on the software CPU.
 */
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  hasHardwareVirtualization,
  type Sandbox,
  type SaveResult,
  SnapshotError,
  startConfinedSandbox,
  startSandbox,
} from "../../../vmm-sandbox/index.ts";
import { SoftwareBackend } from "../../../vmm-sandbox/translator/index.ts";
import { busybox, kernels, MiB, mountKernelFiles, runShell } from "../nested/guests.ts";

const cpu = hasHardwareVirtualization(readFileSync("/proc/cpuinfo", "utf8")) ? "kvm" : "software";
const kernel = kernels[cpu === "kvm" ? "our vmlinux (PVH)" : "our bzImage (64-bit)"];
const key = Buffer.alloc(32, 0x5a);
const memorySizeBytes = 192 * MiB;
const files = [
  { path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) },
] as const;

describe(`a machine saved and restored (${cpu})`, function () {
  this.timeout(120_000);
  let folder: string;
  const path = (name: string) => join(folder, name);

  /** `disk`: what the drive gets once the machine runs; several drives get several. */
  const start = (use: "save" | "restore", disk: string, onSaved?: (result: SaveResult) => void) => {
    const fd = openSync(path("snapshot"), use === "save" ? "w+" : "r", 0o600);
    const snapshot = { kind: use, fd, key, ...(onSaved !== undefined && { onSaved }) };
    const disks = disk.split(" ").map((name) => ({ path: path(name), readOnly: true }));
    const machine = { cpu, cpus: 1, memorySizeBytes, kernel, files, disks, snapshot } as const;
    return startConfinedSandbox(machine).finally(() => closeSync(fd));
  };

  before(async function () {
    const missing = [kernel, busybox].find((file) => !existsSync(file));
    if (missing !== undefined) {
      console.log(`    skipped: no ${missing} (npm run guest:kernel, Debian's busybox-static)`);
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), "manyworlds-snapshot-"));
    writeFileSync(path("first"), Buffer.alloc(MiB, "the first machine's disk; "));
    writeFileSync(path("second"), Buffer.alloc(2 * MiB, "another one's; "));
    const results: SaveResult[] = [];
    const first = await start("save", "first", (result) => results.push(result));
    assert.deepEqual(results, [{ sizeBytes: statSync(path("snapshot")).size }]);
    await mountKernelFiles(first);
    assert.match(await read(first), /^1048576 the first machine/);
    await first.unplug();
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  /** What is in its drive; the driver may have yet to look. */
  const read = async (sandbox: Sandbox): Promise<string> => {
    const wait = "while [ $(/busybox blockdev --getsize64 /dev/vda) = 0 ]; do :; done; ";
    const script = `${wait}/busybox blockdev --getsize64 /dev/vda; /busybox head -c 26 /dev/vda`;
    const { stdout, stderr } = await runShell(sandbox, script);
    return stdout.replace("\n", " ") + stderr;
  };

  it("holds nothing of the disk that was to come, and far less than the machine's RAM", () => {
    const snapshot = readFileSync(path("snapshot"));
    assert.ok(!snapshot.includes("the first machine's disk"));
    assert.ok(snapshot.length < memorySizeBytes / 3, `${snapshot.length} bytes`);
  });

  it("goes on with another disk, the host's time and power-off", async () => {
    const sandbox = await start("restore", "second");
    await mountKernelFiles(sandbox);
    assert.match(await read(sandbox), /^2097152 another one's; another/);
    const { stdout } = await runShell(sandbox, "/busybox date +%s");
    assert.ok(Math.abs(Number(stdout) - Date.now() / 1000) < 5, stdout);
    await sandbox[Symbol.asyncDispose]();
    assert.deepEqual(await sandbox.ended, { kind: "power-off" });
  });

  it("becomes several machines at once that see nothing of each other and draw other numbers", async () => {
    const machines = await Promise.all([1, 2, 3].map(() => start("restore", "first")));
    const drawn = await Promise.all(
      machines.map(async (machine, index) => {
        await mountKernelFiles(machine);
        const draw =
          "/busybox cat /proc/sys/kernel/random/boot_id; /busybox head -c 16 /dev/urandom | /busybox od -An -tx8; /busybox grep vdso /proc/self/maps";
        const { stdout } = await runShell(machine, `echo machine ${index} > /note; ${draw}`);
        return stdout;
      }),
    );
    for (const line of [0, 1, 2]) {
      const values = drawn.map((text) => text.split("\n")[line]);
      assert.equal(new Set(values).size, 3, `line ${line}: ${drawn.join("\n")}`);
    }
    for (const [index, machine] of machines.entries()) {
      const { stdout } = await runShell(machine, "/busybox cat /note");
      assert.equal(stdout, `machine ${index}\n`);
      await machine.unplug();
    }
    // What they wrote is in none that comes later.
    await using later = await start("restore", "first");
    const { status } = await runShell(later, "/busybox test ! -e /note");
    assert.equal(status, 0);
  });

  it("is not restored from a file that was cut short, nor as another machine", async () => {
    const whole = readFileSync(path("snapshot"));
    try {
      const fd = openSync(path("snapshot"), "r+");
      ftruncateSync(fd, whole.length - 4096);
      closeSync(fd);
      await assert.rejects(start("restore", "first"), SnapshotError);
      writeFileSync(path("snapshot"), Buffer.concat([whole.subarray(0, 64), Buffer.alloc(32)]));
      await assert.rejects(start("restore", "first"), SnapshotError);
    } finally {
      writeFileSync(path("snapshot"), whole);
    }
  });

  it("is not restored into a machine with other devices", async () => {
    await assert.rejects(start("restore", "first second"), SnapshotError);
  });

  it("runs in this process as well", async function () {
    if (cpu === "kvm") this.skip(); // KVM is always confined
    const fd = openSync(path("own"), "w+", 0o600);
    const start = (kind: "save" | "restore", image: Uint8Array) =>
      startSandbox({
        backend: new SoftwareBackend({ memorySizeBytes: 128 * MiB }),
        kernel: { image, modules: [] },
        files,
        snapshot: { kind, fd, key },
      });
    const cold = await start("save", readFileSync(kernel));
    await cold.unplug();
    await using warm = await start("restore", new Uint8Array(0));
    closeSync(fd);
    const { stdout } = await runShell(warm, "/busybox uname -s");
    assert.equal(stdout, "Linux\n");
  });
});
