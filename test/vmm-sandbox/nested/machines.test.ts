/** Machines as a whole on KVM: images, save and restore, and guests that misbehave. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLONE_NEWNS, CLONE_NEWUTS } from "../../../linux/index.ts";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import {
  GUEST_ROOTFS,
  GuestNotReadyError,
  KvmBackend,
  planGuestRoot,
  startGuestProcess,
  Vm,
  type VmConfig,
} from "../../../vmm-sandbox/index.ts";
import {
  boot,
  busybox,
  kernels,
  MiB,
  ourKernel,
  packImage,
  readKernel,
  skipWithout,
  text,
  withFolder,
} from "./guests.ts";

/** A first root with busybox and this script as /init. */
function initWith(script: string): Uint8Array {
  return encodeInitramfs([
    { path: "dev", type: "directory" },
    { path: "dev/console", type: "character", major: 5, minor: 1 },
    { path: "dev/ttyS0", type: "character", major: 4, minor: 64 },
    { path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) },
    { path: "init", type: "file", mode: 0o755, data: Buffer.from(`#!/busybox sh\n${script}\n`) },
  ]);
}

async function create(script: string, config: Partial<VmConfig> = {}, cpus = 1): Promise<Vm> {
  return await Vm.create({
    backend: new KvmBackend({ memorySizeBytes: 128 * MiB, cpus }),
    kernel: readKernel(ourKernel).image,
    initrd: initWith(script),
    commandLine: "console=hvc0 quiet panic=-1 reboot=k",
    ...config,
  });
}

describe("machines on KVM", () => {
  before(function () {
    skipWithout(this);
  });

  it("runs a process in an image: EROFS below, memory above, its own /proc", async () => {
    await withFolder(async (folder) => {
      const disk = join(folder, "image.erofs");
      writeFileSync(disk, packImage(folder));
      const before = readFileSync(disk);
      await using sandbox = await boot(ourKernel, { disks: [{ path: disk, readOnly: true }] });
      const { failure } = await sandbox.kernel.run(planGuestRoot({ imageDisk: "/dev/vda" }));
      assert.equal(failure, undefined);
      const script =
        "cat /etc/motd; echo changed > /etc/motd; cat /etc/motd; mkdir /proc; mount -t proc proc /proc; grep -c . /proc/self/status; stat -c %a /bin/busybox";
      const container = await startGuestProcess(sandbox.kernel, sandbox.host, {
        terminal: false,
        rows: [
          { call: "unshare", args: [CLONE_NEWNS | CLONE_NEWUTS] },
          { call: "chdir", args: [GUEST_ROOTFS] },
          { call: "pivot_root", args: [".", "."] },
          { call: "umount2", args: [".", 2] },
          { call: "chdir", args: ["/"] },
          {
            call: "execve",
            args: ["/bin/busybox", { strings: ["sh", "-c", script] }, { strings: ["PATH=/bin"] }],
          },
        ],
      });
      await container.stdin.close();
      const [stdout, stderr] = await Promise.all([text(container.stdout), text(container.stderr)]);
      assert.match(stdout, /^from the image\nchanged\n\d+\n4755\n$/, stderr);
      assert.equal(await container.exited, 0);
      assert.ok(readFileSync(disk).equals(before), "the image is as it was");
    });
  });

  it("goes on in another machine where it was saved, as Linux and as its processes", async () => {
    const script =
      "for i in 0 1 2 3 4 5 6 7; do echo tick $i; /busybox sleep 0.2; done; /busybox dmesg | /busybox grep -o 'machine fork'; echo by interrupts > /dev/ttyS0; /busybox poweroff -f";
    let output = "";
    let serial = "";
    const seen = (bytes: Uint8Array) => {
      output += Buffer.from(bytes).toString();
    };
    await using first = await create(
      script,
      {
        onConsole: (bytes) => {
          seen(bytes);
          if (output.includes("tick 3")) first.pause();
        },
      },
      2,
    );
    assert.deepEqual(await first.run(), { kind: "paused" });
    const state = structuredClone(await first.save());
    assert.ok(!output.includes("tick 7"));
    const onSerial = (byte: number) => {
      serial += String.fromCharCode(byte);
    };
    await using second = await create(script, { onConsole: seen, onSerial }, 2);
    second.machine.memory.copyIn(0, first.machine.memory.window(0, 128 * MiB));
    await second.restore(state);
    assert.deepEqual(await second.run(), { kind: "power-off" });
    assert.deepEqual(
      output.match(/tick \d/g),
      [0, 1, 2, 3, 4, 5, 6, 7].map((tick) => `tick ${tick}`),
    );
    assert.match(output, /machine fork/, "the generation ID made Linux draw other random numbers");
    assert.match(serial, /by interrupts/);
  });

  it("reports a panic with the guest's own last words", async () => {
    await assert.rejects(
      boot(ourKernel, { commandLine: "rdinit=/nonexistent root=/dev/nothing loglevel=4" }),
      (error: unknown) => error instanceof GuestNotReadyError && /Kernel panic/.test(error.message),
    );
  });

  it("reports a kernel without the drivers that the agent needs", async function () {
    const path = kernels["Debian's cloud kernel"];
    skipWithout(this, path);
    const { image } = readKernel(path);
    await assert.rejects(
      boot(ourKernel, { kernel: { image, modules: [] } }),
      (error: unknown) => error instanceof GuestNotReadyError,
    );
  });

  it("gives up on a guest that never calls back", async () => {
    const sleeping = {
      path: "init",
      type: "file",
      mode: 0o755,
      data: readFileSync(busybox),
    } as const;
    await assert.rejects(
      boot(ourKernel, {
        files: [sleeping],
        commandLine: "rdinit=/init -- sleep 1000",
        readyTimeoutMs: 12_000,
      }),
      (error: unknown) =>
        error instanceof GuestNotReadyError && /did not call back/.test(error.message),
    );
  });

  it("keeps a bounded part of a console that is flooded", async () => {
    let bytes = 0;
    const onConsole = (chunk: Uint8Array) => {
      bytes += chunk.length;
    };
    await using vm = await create(
      "for i in 1 2 3 4; do printf %05000d 0; done; /busybox poweroff -f",
      {
        onConsole,
      },
    );
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    assert.ok(bytes >= 20_000, `${bytes}`);
    assert.ok(vm.consoleTail.length <= 8192);
  });

  it("describes a guest whose kernel crashed: registers, code, last words", async () => {
    await using vm = await create("exit 3", {
      commandLine: "console=hvc0 quiet reboot=t panic=-1",
    });
    const reason = await vm.run();
    assert.ok(reason.kind === "reset" || reason.kind === "crash", reason.kind);
    const report = await vm.describeCrash();
    assert.match(report, /rip/i);
    assert.match(report, /Kernel panic.*Attempted to kill init/);
  });
});
