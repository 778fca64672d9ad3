/**
 * Linux under our KVM back end. Needs a processor with vmx or svm (`npm run test:kvm` emulates one)
 * and kernels: GUEST_VMLINUX and GUEST_BZIMAGE of `npm run guest:kernel`, GUEST_DEBIAN, a folder
 * with vmlinuz and the modules of Debian's cloud kernel.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bufferedImageFile, ErofsBuilder, TarReader } from "../../../image/erofs/index.ts";
import { CLONE_NEWNS, CLONE_NEWUTS, type Row } from "../../../linux/index.ts";
import { VirtioFs } from "../../../vmm-sandbox/devices/fs/virtio-fs.ts";
import { Net } from "../../../vmm-sandbox/devices/index.ts";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { planModules } from "../../../vmm-sandbox/guest/kernel-modules.ts";
import { Tap } from "../../../vmm-sandbox/host/tap.ts";
import {
  GUEST_ROOTFS,
  type GuestKernel,
  GuestNotReadyError,
  KvmBackend,
  planGuestRoot,
  type Sandbox,
  type SandboxConfig,
  startGuestProcess,
  startSandbox,
  Vm,
} from "../../../vmm-sandbox/index.ts";

const MiB = 2 ** 20;
const busybox = "/bin/busybox";
const kernels = {
  "our vmlinux (PVH)": process.env["GUEST_VMLINUX"] ?? ".cache/guest-kernel/current/vmlinux",
  "our bzImage (64-bit)": process.env["GUEST_BZIMAGE"] ?? ".cache/guest-kernel/current/bzImage",
  "Debian's cloud kernel": process.env["GUEST_DEBIAN"] ?? ".cache/debian-kernel",
} as const;

/** What Debian has as modules and these tests use. */
const wanted = [
  "virtio_mmio",
  "virtio_console",
  "virtio_blk",
  "virtio_rng",
  "vmw_vsock_virtio_transport",
  "erofs",
  "overlay",
];

function readKernel(path: string): GuestKernel {
  if (!existsSync(join(path, "vmlinuz"))) return { image: readFileSync(path), modules: [] };
  const text = (name: string) => readFileSync(join(path, "modules", name), "utf8");
  const paths = planModules(wanted, text("modules.dep"), text("modules.builtin"));
  return {
    image: readFileSync(join(path, "vmlinuz")),
    modules: paths.map((file) => ({
      name: file.slice(file.lastIndexOf("/") + 1, -3),
      bytes: readFileSync(join(path, "modules", file)),
    })),
  };
}

async function text(stream: ReadableStream<Uint8Array> | undefined): Promise<string> {
  let all = "";
  if (stream !== undefined) for await (const bytes of stream) all += Buffer.from(bytes).toString();
  return all;
}

/** An image of busybox and a file, as an EROFS written from a tar archive. */
async function packImage(folder: string): Promise<Uint8Array> {
  const tree = join(folder, "tree");
  for (const name of ["bin", "etc"]) mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(join(tree, "bin/busybox"), readFileSync(busybox));
  chmodSync(join(tree, "bin/busybox"), 0o4755);
  for (const name of ["cat", "mkdir", "mount", "grep", "stat"])
    symlinkSync("busybox", join(tree, "bin", name));
  writeFileSync(join(tree, "etc/motd"), "from the image\n");
  const tar = execFileSync(busybox, ["tar", "-cf", "-", "-C", tree, "."], { maxBuffer: 64 * MiB });
  const image = join(folder, "packed");
  const file = openSync(image, "w");
  const builder = new ErofsBuilder(bufferedImageFile(file));
  builder.beginLayer();
  const reader = new TarReader(builder);
  reader.push(tar);
  reader.finish();
  builder.finish("test");
  closeSync(file);
  return readFileSync(image);
}

const shell = (script: string): readonly Row[] => [
  {
    call: "execve",
    args: ["/busybox", { strings: ["sh", "-c", script] }, { strings: ["PATH=/"] }],
  },
];

describe("Linux on KVM", function () {
  this.timeout(180_000);

  before(function () {
    const missing = !/\b(vmx|svm)\b/.test(readFileSync("/proc/cpuinfo", "utf8"))
      ? "this processor shows neither vmx nor svm: run `npm run test:kvm`"
      : existsSync(busybox)
        ? undefined
        : `no ${busybox} (Debian's busybox-static)`;
    if (missing === undefined) return;
    console.log(`    skipped: ${missing}`);
    this.skip();
  });

  async function start(
    path: string,
    config: Partial<SandboxConfig> = {},
    cpus = 1,
  ): Promise<Sandbox> {
    const kernel = readKernel(path);
    return await startSandbox({
      backend: new KvmBackend({ memorySizeBytes: 256 * MiB, cpus }),
      kernel,
      files: [{ path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) }],
      ...config,
    });
  }

  /** Mounts that a launch would bring along. */
  const prepare = async ({ kernel }: Sandbox) => {
    const { failure } = await kernel.run({
      rows: [
        { call: "mount", args: ["dev", "/dev", "devtmpfs", 0, 0], ignore: ["EBUSY"] },
        { call: "mount", args: ["proc", "/proc", "proc", 0, 0] },
        { call: "mount", args: ["sys", "/sys", "sysfs", 0, 0] },
      ],
    });
    assert.equal(failure, undefined);
  };
  const run = async (sandbox: Sandbox, script: string, input = "") => {
    const process = await startGuestProcess(sandbox.kernel, sandbox.host, {
      rows: shell(script),
      terminal: false,
    });
    const writer = process.stdin.getWriter();
    await writer.write(Buffer.from(input));
    await writer.close();
    const [stdout, stderr, status] = await Promise.all([
      text(process.stdout),
      text(process.stderr),
      process.exited,
    ]);
    return { stdout, stderr, status };
  };

  for (const [name, path] of Object.entries(kernels)) {
    describe(name, () => {
      before(function () {
        if (existsSync(path)) return;
        console.log(`      skipped: no kernel at "${path}"`);
        this.skip();
      });

      it("boots to the agent, runs a process with its streams and status, and powers off", async () => {
        const sandbox = await start(path);
        const { stdout, stderr, status } = await run(
          sandbox,
          "/busybox cat; echo problem >&2; exit 7",
          "hello\n",
        );
        assert.deepEqual(
          { stdout, stderr, status },
          { stdout: "hello\n", stderr: "problem\n", status: 7 << 8 },
        );
        await sandbox[Symbol.asyncDispose]();
        assert.deepEqual(await sandbox.ended, { kind: "power-off" });
      });

      it("sees its disks in order, reads and writes them", async () => {
        const folder = mkdtempSync(join(tmpdir(), "disks-"));
        const content = Buffer.alloc(MiB, "first disk. ");
        writeFileSync(join(folder, "a"), content);
        writeFileSync(join(folder, "b"), Buffer.alloc(MiB));
        {
          await using sandbox = await start(path, {
            disks: [
              { path: join(folder, "a"), readOnly: true },
              { path: join(folder, "b"), readOnly: false },
            ],
          });
          await prepare(sandbox);
          const { stdout } = await run(
            sandbox,
            "/busybox dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null; /busybox md5sum < /dev/vda; /busybox dd if=/dev/vdb of=/dev/vda count=1 2>&1 | /busybox grep -c 'not permitted'; /busybox cat /sys/block/vda/serial",
          );
          assert.match(stdout, /\n1\ndisk0$/);
        }
        assert.ok(readFileSync(join(folder, "b")).equals(content));
        assert.ok(readFileSync(join(folder, "a")).equals(content));
        rmSync(folder, { recursive: true });
      });
    });
  }

  describe("with our kernel", () => {
    const path = kernels["our vmlinux (PVH)"];

    before(function () {
      if (existsSync(path)) return;
      console.log(`      skipped: no kernel at "${path}"`);
      this.skip();
    });

    it("brings up every vCPU", async () => {
      await using sandbox = await start(path, {}, 2);
      await prepare(sandbox);
      const { stdout } = await run(
        sandbox,
        "/busybox nproc; /busybox grep -c x2apic /proc/cpuinfo; /busybox cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
      );
      assert.deepEqual(stdout.trim().split("\n"), ["2", "2", "kvm-clock"]);
    });

    it("carries megabytes in both directions, unchanged", async () => {
      await using sandbox = await start(path);
      const data = Buffer.from(Array.from({ length: 512 * 1024 }, (_, i) => 97 + ((i * i) % 26)));
      const { stdout } = await run(sandbox, "/busybox cat", data.toString());
      assert.ok(stdout === data.toString());
    });

    it("gets random bytes from the host", async () => {
      await using sandbox = await start(path);
      await prepare(sandbox);
      const { stdout } = await run(
        sandbox,
        "/busybox cat /sys/class/misc/hw_random/rng_current; /busybox head -c 8 /dev/hwrng | /busybox wc -c",
      );
      assert.match(stdout, /^virtio_rng.*\n8\n$/s);
    });

    it("reaches the host through a tap device", async function () {
      if (!existsSync("/dev/net/tun")) {
        console.log("      skipped: no /dev/net/tun (modprobe tun)");
        this.skip();
      }
      await using tap = new Tap({ name: "mwtest%d" });
      const ip = (...args: string[]) => execFileSync(busybox, ["ip", ...args]);
      ip("addr", "add", "10.88.0.1/24", "dev", tap.name);
      ip("link", "set", tap.name, "up");
      const net = new Net(tap, { mac: Uint8Array.of(2, 0, 0, 0, 0, 2) });
      await using sandbox = await start(path, { devices: [net] });
      await prepare(sandbox);
      const { stdout, stderr } = await run(
        sandbox,
        "/busybox ip addr add 10.88.0.2/24 dev eth0; /busybox ip link set eth0 up; /busybox ping -c 2 -W 20 10.88.0.1; /busybox cat /sys/class/net/eth0/address",
      );
      assert.match(stdout, /2 packets received[\s\S]*02:00:00:00:00:02/, stderr);
    });

    it("runs a process in an image: EROFS below, memory above, its own /proc", async () => {
      const folder = mkdtempSync(join(tmpdir(), "image-"));
      const disk = join(folder, "image.erofs");
      writeFileSync(disk, await packImage(folder));
      const before = readFileSync(disk);
      await using sandbox = await start(path, { disks: [{ path: disk, readOnly: true }] });
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
      rmSync(folder, { recursive: true });
    });

    it("shares a host directory both ways", async () => {
      const folder = mkdtempSync(join(tmpdir(), "shared-"));
      writeFileSync(join(folder, "from-host"), "host wrote this\n");
      {
        using shared = new VirtioFs("shared", { path: folder, readOnly: false });
        await using sandbox = await start(path, { devices: [shared] });
        const { stdout, stderr } = await run(
          sandbox,
          "/busybox mkdir /mnt && /busybox mount -t virtiofs shared /mnt && /busybox cat /mnt/from-host && echo guest wrote this > /mnt/from-guest && /busybox ls /mnt",
        );
        assert.equal(stdout, "host wrote this\nfrom-guest\nfrom-host\n", stderr);
      }
      assert.equal(readFileSync(join(folder, "from-guest"), "utf8"), "guest wrote this\n");
      rmSync(folder, { recursive: true });
    });

    it("goes on in another machine where it was saved, as Linux and as its processes", async () => {
      const script =
        "#!/busybox sh\nfor i in 0 1 2 3 4 5 6 7; do echo tick $i; /busybox sleep 0.2; done; /busybox dmesg | /busybox grep -o 'machine fork'; /busybox poweroff -f\n";
      const initrd = encodeInitramfs([
        { path: "dev", type: "directory" },
        { path: "dev/console", type: "character", major: 5, minor: 1 },
        { path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) },
        { path: "init", type: "file", mode: 0o755, data: Buffer.from(script) },
      ]);
      const { image } = readKernel(path);
      const boot = (onConsole: (bytes: Uint8Array) => void) =>
        Vm.create({
          backend: new KvmBackend({ memorySizeBytes: 128 * MiB, cpus: 2 }),
          kernel: image,
          initrd,
          commandLine: "console=hvc0 quiet panic=-1 reboot=k",
          onConsole,
        });
      let output = "";
      const seen = (bytes: Uint8Array) => {
        output += Buffer.from(bytes).toString();
      };
      await using first = await boot((bytes) => {
        seen(bytes);
        if (output.includes("tick 3")) first.pause();
      });
      assert.deepEqual(await first.run(), { kind: "paused" });
      const state = structuredClone(await first.save());
      assert.ok(!output.includes("tick 7"));
      await using second = await boot(seen);
      second.machine.memory.copyIn(0, first.machine.memory.window(0, 128 * MiB));
      await second.restore(state);
      assert.deepEqual(await second.run(), { kind: "power-off" });
      const ticks = output.match(/tick \d/g);
      assert.deepEqual(
        ticks,
        ["0", "1", "2", "3", "4", "5", "6", "7"].map((tick) => `tick ${tick}`),
      );
      assert.match(output, /machine fork/, "the generation ID made Linux reseed its random numbers");
    });

    it("uses next to no processor time while the guest idles", async () => {
      await using sandbox = await start(path, {}, 2);
      await run(sandbox, "true");
      // What a boot leaves to be done later.
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const before = process.cpuUsage();
      await new Promise((resolve) => setTimeout(resolve, 5000));
      const { user, system } = process.cpuUsage(before);
      const share = (user + system) / 5e6;
      // Polling would be 1 at least; here each exit is emulated and costs a millisecond.
      assert.ok(share < 0.25, `${(share * 100).toFixed(1)} % of a processor`);
      assert.equal((await run(sandbox, "exit 3")).status, 3 << 8);
    });

    it("reports a panic with the guest's own last words", async () => {
      await assert.rejects(
        start(path, { commandLine: "rdinit=/nonexistent root=/dev/nothing loglevel=4" }),
        (error: unknown) =>
          error instanceof GuestNotReadyError && /Kernel panic/.test(error.message),
      );
    });

    it("gives up on a guest that never calls back", async () => {
      const spinning = {
        path: "init",
        type: "file",
        mode: 0o755,
        data: readFileSync(busybox),
      } as const;
      await assert.rejects(
        start(path, {
          files: [spinning],
          commandLine: "rdinit=/init -- sleep 1000",
          readyTimeoutMs: 15_000,
        }),
        (error: unknown) => error instanceof GuestNotReadyError,
      );
    });
  });
});
