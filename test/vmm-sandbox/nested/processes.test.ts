/** Processes of one guest with two vCPUs: streams, terminals, signals, devices. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { VirtioFs } from "../../../vmm-sandbox/devices/fs/virtio-fs.ts";
import { Net } from "../../../vmm-sandbox/devices/index.ts";
import { Tap } from "../../../vmm-sandbox/host/tap.ts";
import { type Sandbox, startGuestProcess } from "../../../vmm-sandbox/index.ts";
import {
  boot,
  busybox,
  MiB,
  mountKernelFiles,
  runShell,
  shell,
  skipWithout,
  startShell,
  text,
} from "./guests.ts";
import { openTerminal, terminalBuffers } from "./terminal.ts";

/** A guest reports free pages two seconds after it freed them. */
const REPORT_TIMEOUT_MS = 60_000;

describe("a guest with two vCPUs on KVM", () => {
  let sandbox: Sandbox;
  let shared: VirtioFs;
  let tap: Tap | undefined;
  const folder = mkdtempSync(join(tmpdir(), "shared-"));

  before(async function () {
    skipWithout(this);
    writeFileSync(join(folder, "from-host"), "host wrote this\n");
    shared = new VirtioFs("shared", { path: folder, readOnly: false });
    tap = existsSync("/dev/net/tun") ? new Tap({ name: "mwtest%d" }) : undefined;
    const net = tap && new Net(tap, { mac: Uint8Array.of(2, 0, 0, 0, 0, 2) });
    const devices = net === undefined ? [shared] : [shared, net];
    sandbox = await boot(undefined, { devices }, 2);
    await mountKernelFiles(sandbox);
  });

  after(async () => {
    await sandbox?.[Symbol.asyncDispose]();
    await tap?.[Symbol.asyncDispose]();
    shared?.[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  it("has both vCPUs, x2APIC and KVM's clock", async () => {
    const { stdout } = await runShell(
      sandbox,
      "/busybox nproc; /busybox grep -c x2apic /proc/cpuinfo; /busybox cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
    );
    assert.deepEqual(stdout.trim().split("\n"), ["2", "2", "kvm-clock"]);
  });

  it("carries megabytes in both directions, unchanged", async () => {
    const data = Buffer.from(Array.from({ length: 512 * 1024 }, (_, i) => 97 + ((i * i) % 26)));
    const { stdout } = await runShell(sandbox, "/busybox cat", data.toString());
    assert.ok(stdout === data.toString());
  });

  it("keeps the streams of several processes apart", async () => {
    const numbers = Array.from({ length: 6 }, (_, index) => index);
    const outputs = await Promise.all(
      numbers.map(async (number) => (await runShell(sandbox, `echo number ${number}`)).stdout),
    );
    assert.deepEqual(
      outputs,
      numbers.map((number) => `number ${number}\n`),
    );
  });

  it("kills a process, and says by which signal it ended", async () => {
    const process = await startShell(sandbox, "/busybox sleep 1000");
    await process.kill(9);
    assert.equal(await process.exited, 9);
  });

  it("gives a process a terminal: size, resizing, Ctrl-C", async () => {
    const script =
      "trap 'echo interrupted; exit 3' INT; /busybox test -t 1 && echo a terminal; read x; /busybox stty size; read y";
    const process = await startGuestProcess(sandbox.kernel, sandbox.host, {
      terminal: true,
      rows: [...openTerminal, shell(script)],
      buffers: terminalBuffers,
    });
    const writer = process.stdin.getWriter();
    let seen = "";
    const reader = process.stdout.getReader();
    const readUntil = async (wanted: RegExp) => {
      while (!wanted.test(seen)) {
        const late = setTimeout(() => void reader.cancel(), 30_000);
        const { value, done } = await reader.read();
        clearTimeout(late);
        if (done) break;
        seen += Buffer.from(value).toString();
      }
      assert.match(seen, wanted);
    };
    await readUntil(/^a terminal\r\n/);
    await process.resize(132, 43);
    await writer.write(Buffer.from("go\n"));
    await readUntil(/go\r\n43 132\r\n/);
    await writer.write(Buffer.from([3])); // Ctrl-C
    await readUntil(/interrupted\r\n$/);
    assert.equal(await process.exited, 3 << 8);
    await writer.close().catch(() => undefined); // the relay may have hung up already
  });

  it("gets random bytes from the host", async () => {
    const { stdout } = await runShell(
      sandbox,
      "/busybox cat /sys/class/misc/hw_random/rng_current; /busybox head -c 8 /dev/hwrng | /busybox wc -c",
    );
    assert.match(stdout, /^virtio_rng.*\n8\n$/s);
  });

  it("reaches the host through a tap device", async function () {
    if (tap === undefined) {
      console.log("      skipped: no /dev/net/tun (modprobe tun)");
      this.skip();
    }
    const ip = (...args: string[]) => execFileSync(busybox, ["ip", ...args]);
    ip("addr", "add", "10.88.0.1/24", "dev", tap.name);
    ip("link", "set", tap.name, "up");
    const { stdout, stderr } = await runShell(
      sandbox,
      "/busybox ip addr add 10.88.0.2/24 dev eth0; /busybox ip link set eth0 up; /busybox ping -c 2 -W 20 10.88.0.1; /busybox cat /sys/class/net/eth0/address",
    );
    assert.match(stdout, /2 packets received[\s\S]*02:00:00:00:00:02/, stderr);
  });

  it("shares a host directory both ways", async () => {
    const { stdout, stderr } = await runShell(
      sandbox,
      "/busybox mkdir /mnt && /busybox mount -t virtiofs shared /mnt && /busybox cat /mnt/from-host && echo guest wrote this > /mnt/from-guest && /busybox ls /mnt; /busybox umount /mnt",
    );
    assert.equal(stdout, "host wrote this\nfrom-guest\nfrom-host\n", stderr);
    assert.equal(readFileSync(join(folder, "from-guest"), "utf8"), "guest wrote this\n");
  });

  it("gives back to the host what it freed", async () => {
    const write = "/busybox dd if=/dev/zero of=/tmp/big bs=1M count=64";
    await runShell(sandbox, `/busybox mount -t tmpfs none /tmp; ${write}`);
    const full = residentBytes();
    await runShell(sandbox, "/busybox rm /tmp/big; /busybox umount /tmp");
    const end = Date.now() + REPORT_TIMEOUT_MS;
    while (full - residentBytes() < 40 * MiB) {
      assert.ok(Date.now() < end, `${full} bytes became ${residentBytes()}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    console.log(`      ${full >> 20} MiB became ${residentBytes() >> 20}`);
  });

  it("hardly wakes this process while it idles", async () => {
    const seconds = 5;
    await new Promise((resolve) => setTimeout(resolve, 2000)); // what the others left to be done
    const [before, cpuBefore] = [contextSwitches(), process.cpuUsage()];
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const wakes = (contextSwitches() - before) / seconds;
    const { user, system } = process.cpuUsage(cpuBefore);
    const share = (user + system) / (seconds * 1e6);
    console.log(`      ${wakes} wakes a second, ${(share * 100).toFixed(1)} % of a processor`);
    // A tick of two vCPUs would be 200, polling some thousand. Time says less: it is emulated.
    assert.ok(wakes < 100, `${wakes} wakes a second`);
    assert.equal((await runShell(sandbox, "exit 3")).status, 3 << 8);
  });

  it("ends with the last word of each process", async () => {
    const long = await startShell(sandbox, "/busybox sleep 1; echo bye");
    assert.equal(await text(long.stdout), "bye\n");
  });
});

function residentBytes(): number {
  return Number(readFileSync("/proc/self/statm", "latin1").split(" ")[1]) * 4096;
}

/** Of all threads of this process, vCPUs among them; some may end meanwhile. proc_pid_status(5) */
function contextSwitches(): number {
  let sum = 0;
  for (const task of readdirSync("/proc/self/task")) {
    const path = `/proc/self/task/${task}/status`;
    for (const [, count] of readStatus(path).matchAll(/ctxt_switches:\t(\d+)/g))
      sum += Number(count);
  }
  return sum;
}

function readStatus(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // the thread has ended
  }
}
