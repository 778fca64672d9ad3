/** Linux in a confined monitor, on the software CPU; `npm run test:kvm` runs the same on KVM. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { encodeElf } from "../../../linux/index.ts";
import { KernelImageError } from "../../../vmm-sandbox/boot/index.ts";
import {
  type ConfinedSandboxConfig,
  GuestNotReadyError,
  hasHardwareVirtualization,
  openTap,
  planGuestRoot,
  type Sandbox,
  startConfinedSandbox,
} from "../../../vmm-sandbox/index.ts";
import {
  busybox,
  kernels,
  MiB,
  mountKernelFiles,
  packImage,
  runShell,
  withFolder,
} from "../nested/guests.ts";

const cpu = hasHardwareVirtualization(readFileSync("/proc/cpuinfo", "utf8")) ? "kvm" : "software";
const kernel = kernels[cpu === "kvm" ? "our vmlinux (PVH)" : "our bzImage (64-bit)"];

const IDLE_MS = 6000;
const MAX_WINDOWS = 6;
/** Bun looks at its sockets once a second, and wakes its allocator; the rest is the guest's. */
const MAX_WAKES_PER_SECOND = 7;

function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8")
      .split(" ")
      .filter(Boolean)
      .map(Number),
  );
}

function isMonitor(pid: number): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("monitor");
}

/** How often each thread went to sleep, by itself or not: proc_pid_status(5). */
function countWakes(pid: number): readonly (readonly [thread: string, count: number])[] {
  return readdirSync(`/proc/${pid}/task`).map((task) => {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, "utf8");
    const [, name = ""] = /^Name:\s+(.*)$/m.exec(status) ?? [];
    const [, count = ""] = /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status) ?? [];
    return [`${task} ${name}`, Number(count)];
  });
}

describe(`a confined monitor (${cpu})`, function () {
  this.timeout(120_000);

  before(function () {
    const missing = [kernel, busybox].find((path) => !existsSync(path));
    if (missing === undefined) return;
    console.log(`    skipped: no ${missing} (npm run guest:kernel, Debian's busybox-static)`);
    this.skip();
  });

  const start = (config: Partial<ConfinedSandboxConfig> = {}): Promise<Sandbox> =>
    startConfinedSandbox({
      cpu,
      cpus: 1,
      memorySizeBytes: 192 * MiB,
      kernel,
      files: [{ path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) }],
      ...config,
    });

  it("runs a guest: streams, status, a disk, a shared directory, power-off; nothing stays", async () => {
    await withFolder(async (folder) => {
      mkdirSync(join(folder, "shared"));
      writeFileSync(join(folder, "shared/from-host"), "host wrote this\n");
      writeFileSync(join(folder, "disk"), Buffer.alloc(MiB, "sector "));
      const before = readdirSync("/proc/self/fd").length;
      const sandbox = await start({
        disks: [{ path: join(folder, "disk"), readOnly: true }],
        shares: [{ tag: "volume", source: join(folder, "shared"), readOnly: false }],
      });
      await mountKernelFiles(sandbox);
      const script =
        "/busybox cat; /busybox head -c 7 /dev/vda; echo; /busybox mkdir /mnt; /busybox mount -t virtiofs volume /mnt; /busybox cat /mnt/from-host; echo mine > /mnt/from-guest; /busybox chown 12:34 /mnt/from-guest; echo oops >&2; exit 7";
      const { stdout, stderr, status } = await runShell(sandbox, script, "typed\n");
      assert.deepEqual(
        { stdout, stderr, status },
        { stdout: "typed\nsector \nhost wrote this\n", stderr: "oops\n", status: 7 << 8 },
      );
      await sandbox[Symbol.asyncDispose]();
      assert.deepEqual(await sandbox.ended, { kind: "power-off" });
      assert.equal(readFileSync(join(folder, "shared/from-guest"), "utf8"), "mine\n");
      assert.ok(readdirSync("/proc/self/fd").length <= before, "no descriptor stays open");
    });
  });

  it("uses no CPU when its guest is idle: nothing of it wakes up", async () => {
    await withFolder(async (folder) => {
      writeFileSync(join(folder, "image.erofs"), packImage(folder));
      const disks = [{ path: join(folder, "image.erofs"), readOnly: true }];
      await using sandbox = await start({ disks });
      const { failure } = await sandbox.kernel.run(planGuestRoot({ imageDisk: "/dev/vda" }));
      assert.equal(failure, undefined);
      const [monitor] = childrenOf(process.pid).filter(isMonitor);
      assert.ok(monitor !== undefined);
      const most = (MAX_WAKES_PER_SECOND * IDLE_MS) / 1000;
      // What started it is still being swept: by the guest's RCU, by our engine's allocator.
      const seen: string[] = [];
      for (let window = 0; window < MAX_WINDOWS; window++) {
        const before = countWakes(monitor);
        await setTimeout(IDLE_MS);
        const wakes = countWakes(monitor).map(([thread, count]) => {
          const [, earlier = 0] = before.find(([name]) => name === thread) ?? [];
          return [thread, count - earlier] as const;
        });
        const total = wakes.reduce((sum, [, count]) => sum + count, 0);
        if (total <= most) break;
        seen.push(`${total} wakes: ${JSON.stringify(wakes)}`);
      }
      assert.ok(seen.length < MAX_WINDOWS, `In each ${IDLE_MS} ms ${seen.join("; ")}`);
      await sandbox.unplug();
    });
  });

  it("has a network: a tap device of another namespace, as a descriptor", async function () {
    const name = `mw-confined-${process.pid}`;
    const ip = (...args: string[]) => execFileSync("ip", args, { stdio: "pipe" });
    try {
      ip("netns", "add", name);
    } catch (error) {
      console.log(
        `      skipped: ${error instanceof Error ? error.message.split("\n")[0] : error}`,
      );
      this.skip();
    }
    try {
      const tap = openTap({ name: "guest0", namespace: `/run/netns/${name}` });
      ip("-n", name, "addr", "add", "10.99.0.1/24", "dev", tap.name);
      ip("-n", name, "link", "set", tap.name, "up");
      const nets = [{ kind: "tap", fd: tap.fd.number, mac: [2, 0, 0, 0, 0, 9] }] as const;
      await using sandbox = await start({ nets });
      tap.fd.close();
      const { stdout, stderr } = await runShell(
        sandbox,
        "/busybox ip addr add 10.99.0.2/24 dev eth0; /busybox ip link set eth0 up; /busybox ping -c 2 -W 20 10.99.0.1",
      );
      assert.match(stdout, /2 packets received/, stderr);
    } finally {
      ip("netns", "del", name);
    }
  });

  it("is sealed while the guest runs, carries megabytes, and ends its guest when it is killed", async () => {
    const before = new Set(children());
    const sandbox = await start();
    const [pid = 0, ...others] = children().filter((child) => !before.has(child));
    assert.deepEqual(others, []);
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    assert.match(status, /^Seccomp:\t2$/m);
    assert.match(status, /^CapBnd:\t0{16}$/m);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^NSpid:\t\d+\t1$/m);
    const text = "0123456789abcdef".repeat(32 * 1024);
    const { stdout } = await runShell(sandbox, "/busybox cat", text);
    assert.ok(stdout === text);
    process.kill(pid, "SIGKILL");
    const reason = await sandbox.ended;
    assert.match(reason.kind === "crash" ? reason.why : reason.kind, /^its monitor ended/);
    await sandbox[Symbol.asyncDispose]();
  });

  it("describes a guest that ended, through its monitor", async () => {
    const sandbox = await start();
    sandbox.vm.machine.stop({ kind: "stopped" });
    assert.deepEqual(await sandbox.ended, { kind: "stopped" });
    assert.match(
      await sandbox.vm.describeCrash(),
      /\brip [0-9a-f]{16}[\s\S]*about to run:\n {2}[0-9a-f]{16} /,
    );
    await sandbox.unplug();
  });

  it("reports a guest that panics with its last words", async () => {
    await assert.rejects(
      start({ commandLine: "rdinit=/nonexistent root=/dev/nothing loglevel=4" }),
      (error: unknown) => error instanceof GuestNotReadyError && /Kernel panic/.test(error.message),
    );
  });

  it("gives up on a guest that never calls back, and leaves nothing of it", async () => {
    const before = children().length;
    const data = encodeElf({ rows: [{ call: "pause", args: [] }] });
    await assert.rejects(
      start({
        files: [{ path: "sleeper", type: "file", mode: 0o755, data }],
        commandLine: "rdinit=/sleeper",
        readyTimeoutMs: 8000,
      }),
      (error: unknown) =>
        error instanceof GuestNotReadyError && /did not call back within 8 s/.test(error.message),
    );
    assert.equal(children().length, before);
  });

  it("keeps a bounded part of a console that is flooded, and stays at its engine's service", async () => {
    let bytes = 0;
    await using sandbox = await start({
      onConsole: (chunk) => {
        bytes += chunk.length;
      },
    });
    await mountKernelFiles(sandbox);
    const flood = "/busybox yes flooded | /busybox head -c 20000 > /dev/hvc0; echo done";
    const { stdout, status } = await runShell(sandbox, flood);
    assert.deepEqual({ stdout, status }, { stdout: "done\n", status: 0 });
    assert.ok(bytes >= 20_000, `${bytes}`);
    const { consoleTail } = sandbox.vm;
    assert.ok(consoleTail.length <= 8192 && /flooded/.test(consoleTail));
  });

  it("refuses what is no kernel, as a machine in this process would", async () => {
    const before = children().length;
    await assert.rejects(start({ kernel: "/etc/passwd" }), KernelImageError);
    await assert.rejects(start({ kernel: "/nonexistent" }), /ENOENT/);
    assert.equal(children().length, before);
  });
});

function children(): readonly number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8")
    .trim()
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);
}
