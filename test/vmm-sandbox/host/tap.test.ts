/** A tap device in a network namespace of the test's own, and passt's framing on a socket. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Passt } from "../../../vmm-sandbox/host/passt.ts";
import { Tap } from "../../../vmm-sandbox/host/tap.ts";

const ip = (...args: string[]) => execFileSync("ip", args, { encoding: "utf8", stdio: "pipe" });

describe("Tap", function () {
  this.timeout(20_000);
  const namespace = `mw-tap-${process.pid}`;
  let made = false;

  before(function () {
    try {
      assert.ok(existsSync("/dev/net/tun"), "no /dev/net/tun");
      ip("netns", "add", namespace);
      made = true;
    } catch (error) {
      console.log(`    skipped: ${error instanceof Error ? error.message.split("\n")[0] : error}`);
      this.skip();
    }
  });
  after(() => {
    if (made) ip("netns", "del", namespace);
  });

  it("carries frames to and from a device in another namespace: ARP is asked and answered", async () => {
    await using tap = new Tap({ name: "mwtap%d", namespace: `/run/netns/${namespace}` });
    assert.equal(tap.name, "mwtap0");
    assert.throws(() => ip("link", "show", tap.name), "it is not in our own namespace");
    const asked = new Promise<Uint8Array>((resolve) => {
      tap.onFrame = (frame) => {
        if (frame[12] === 0x08 && frame[13] === 0x06) resolve(frame);
      };
    });
    ip("-n", namespace, "addr", "add", "10.77.0.1/24", "dev", tap.name);
    ip("-n", namespace, "link", "set", tap.name, "up");
    const ping = spawn(
      "ip",
      ["netns", "exec", namespace, "busybox", "ping", "-c", "1", "-W", "3", "10.77.0.2"],
      { stdio: "ignore" },
    );
    const request = await asked;
    assert.deepEqual([...request.subarray(38, 42)], [10, 77, 0, 2]);
    tap.send(answerArp(request));
    for (
      let tries = 0;
      !/10\.77\.0\.2.*02:aa:bb:cc:dd:ee/.test(ip("-n", namespace, "neigh"));
      tries++
    ) {
      assert.ok(tries < 50, ip("-n", namespace, "neigh"));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    ping.kill();
    await once(ping, "exit");
  });

  it("refuses a name that is too long, and a namespace that is not there", () => {
    assert.throws(() => new Tap({ name: "a-name-of-sixteen" }), RangeError);
    assert.throws(() => new Tap({ name: "x", namespace: "/run/netns/nowhere-at-all" }), /ENOENT/);
  });
});

/** The reply to an Ethernet ARP request, from 02:aa:bb:cc:dd:ee. RFC 826 */
function answerArp(request: Uint8Array): Uint8Array {
  const mac = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
  const sender = request.subarray(22, 32);
  const wanted = request.subarray(38, 42);
  return Uint8Array.of(
    ...request.subarray(6, 12),
    ...mac,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    2,
    ...mac,
    ...wanted,
    ...sender,
  );
}

describe("Passt", () => {
  it("frames both ways, however the stream is cut", async () => {
    const folder = mkdtempSync(join(tmpdir(), "passt-"));
    const server = createServer().listen(join(folder, "socket"));
    await once(server, "listening");
    const accepted = once(server, "connection");
    using passt = await Passt.connect(join(folder, "socket"));
    // SAFE: net.Server's "connection" carries a Socket.
    const [peer] = (await accepted) as [Socket];
    const frames: number[] = [];
    passt.onFrame = (frame) => frames.push(frame.length);
    const stream = Buffer.concat(
      [60, 1500].map((length) =>
        Buffer.concat([Buffer.of(0, 0, length >> 8, length & 255), Buffer.alloc(length)]),
      ),
    );
    for (const at of [0, 3, 10, 70]) {
      peer.write(stream.subarray(at, { 0: 3, 3: 10, 10: 70, 70: stream.length }[at]));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.deepEqual(frames, [60, 1500]);
    passt.send(new Uint8Array(20).fill(7));
    const [bytes] = (await once(peer, "data")) as [Buffer];
    assert.deepEqual([...bytes.subarray(0, 5)], [0, 0, 0, 20, 7]);
    peer.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
});
