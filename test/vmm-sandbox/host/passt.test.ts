/** Frames to and from the real passt, which stands in a network namespace of its own. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { Passt } from "../../../vmm-sandbox/host/passt.ts";

const GUEST_MAC = [2, 0, 0, 0, 0, 2];
const GATEWAY = [10, 77, 0, 1];
const network = [
  "ip link add uplink type veth peer name other",
  "ip addr add 10.77.0.2/24 dev uplink",
  "ip link set uplink up",
  "ip link set other up",
  "ip link set lo up",
  "ip route add default via 10.77.0.1 dev uplink",
].join(" && ");

/** RFC 826: who has the gateway's address? */
const arpRequest = Uint8Array.from([
  ...[255, 255, 255, 255, 255, 255, ...GUEST_MAC, 0x08, 0x06],
  ...[0, 1, 0x08, 0, 6, 4, 0, 1, ...GUEST_MAC, 10, 77, 0, 2, 0, 0, 0, 0, 0, 0, ...GATEWAY],
]);

/** RFC 2131: DHCPDISCOVER in UDP in IPv4; a checksum of zero means none. */
function dhcpDiscover(): Uint8Array {
  const frame = new Uint8Array(14 + 20 + 8 + 244);
  frame.set([255, 255, 255, 255, 255, 255, ...GUEST_MAC, 0x08, 0x00]);
  const ip = frame.subarray(14);
  ip.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
  const view = new DataView(frame.buffer, 14);
  view.setUint16(2, 20 + 8 + 244);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
  view.setUint16(10, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  view.setUint16(20, 68);
  view.setUint16(22, 67);
  view.setUint16(24, 8 + 244);
  const dhcp = ip.subarray(28);
  dhcp.set([1, 1, 6, 0, 1, 2, 3, 4]);
  dhcp.set(GUEST_MAC, 28);
  dhcp.set([99, 130, 83, 99, 53, 1, 1, 255], 236);
  return frame;
}

describe("passt", function () {
  this.timeout(30_000);
  const folder = mkdtempSync(join(tmpdir(), "passt-"));
  const path = join(folder, "socket");
  let program: ChildProcess | undefined;

  before(async function () {
    const missing = ["/usr/bin/passt", "/usr/bin/unshare", "/sbin/ip"].find((f) => !existsSync(f));
    const why = missing === undefined ? undefined : `no ${missing}`;
    if (why !== undefined || process.geteuid?.() !== 0) {
      console.log(`    skipped: ${why ?? "only root makes network namespaces"}`);
      this.skip();
    }
    const start = `${network} && exec passt --foreground --runas 0 --socket ${path}`;
    program = spawn("unshare", ["--net", "sh", "-c", start], { stdio: "ignore" });
    for (let i = 0; i < 100 && !existsSync(path); i++) await setTimeout(50);
  });

  after(async () => {
    if (program?.exitCode === null) {
      program.kill("SIGKILL");
      await new Promise((resolve) => program?.once("close", resolve));
    }
    rmSync(folder, { recursive: true });
  });

  it("answers a guest: the gateway by ARP, an address by DHCP", async () => {
    using passt = await Passt.connect(path);
    const frames: Uint8Array[] = [];
    passt.onFrame = (frame) => void frames.push(frame);
    const until = async (what: string, found: (frame: Uint8Array) => boolean) => {
      for (let i = 0; i < 100; i++) {
        const frame = frames.find(found);
        if (frame !== undefined) return frame;
        await setTimeout(20);
      }
      throw new Error(`No ${what} in ${frames.length} frames`);
    };
    passt.send(arpRequest);
    const reply = await until("ARP reply", (frame) => frame[12] === 8 && frame[13] === 6);
    assert.deepEqual([...reply.subarray(0, 6)], GUEST_MAC);
    assert.equal(reply[21], 2);
    assert.deepEqual([...reply.subarray(28, 32)], GATEWAY);
    passt.send(dhcpDiscover());
    const offer = await until("DHCP offer", (frame) => frame[23] === 17 && frame[35] === 67);
    assert.deepEqual([...offer.subarray(14 + 28 + 16, 14 + 28 + 20)], [10, 77, 0, 2]);
  });

  it("says when nobody listens", async () => {
    await assert.rejects(Passt.connect(join(folder, "nobody")), /ENOENT/);
  });

  it("hangs up on a peer that speaks no frames", async () => {
    const fake = join(folder, "fake");
    const server = createServer();
    const closed = new Promise<void>((resolve) => {
      server.on("connection", (socket) => {
        socket.on("close", () => resolve());
        socket.on("error", () => undefined);
        socket.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0));
      });
    });
    await new Promise<void>((resolve) => server.listen(fake, resolve));
    using passt = await Passt.connect(fake);
    passt.onFrame = () => assert.fail("that was no frame");
    await closed;
    await new Promise((resolve) => server.close(resolve));
  });
});
