import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bridge, WINDOW_BYTES } from "../../../vmm-sandbox/monitor/bridge.ts";
import { encodeFrame, FrameError, frameKinds } from "../../../vmm-sandbox/monitor/frames.ts";

async function text(stream: ReadableStream<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

describe("Bridge", () => {
  const folder = mkdtempSync(join(tmpdir(), "bridge-"));
  let sockets: readonly [Socket, Socket];

  beforeEach(async () => {
    const path = join(folder, `${Math.random()}`);
    const server = createServer();
    server.listen(path);
    await once(server, "listening");
    const ours = connect(path);
    const [theirs] = (await once(server, "connection")) as [Socket];
    server.close();
    sockets = [ours, theirs];
  });

  afterEach(() => {
    for (const socket of sockets) socket.destroy();
  });
  after(() => rmSync(folder, { recursive: true }));

  const pair = () => [new Bridge(sockets[0], () => {}), new Bridge(sockets[1], () => {})] as const;

  it("carries megabytes both ways, and ends each direction by itself", async () => {
    const [ours, theirs] = pair();
    const [here, there] = [ours.open(1), theirs.open(1)];
    const big = "0123456789".repeat(300_000);
    const writer = here.writable.getWriter();
    const written = writer.write(Buffer.from(big)).then(() => writer.close());
    assert.ok((await text(there.readable)) === big);
    await written;
    const back = there.writable.getWriter();
    await back.write(Buffer.from("answer"));
    await back.close();
    assert.equal(await text(here.readable), "answer");
  });

  it("holds back who sends more than is read, and nobody else", async () => {
    const [ours, theirs] = pair();
    const [slow, fast] = [ours.open(1), ours.open(2)];
    theirs.open(1); // never read
    const reader = theirs.open(2).readable;
    let sent = 0;
    const writer = slow.writable.getWriter();
    const flood = async () => {
      for (;;) {
        await writer.write(new Uint8Array(16 * 1024));
        sent += 16 * 1024;
      }
    };
    flood().catch(() => undefined); // it ends with the bridge
    const other = fast.writable.getWriter();
    await other.write(Buffer.from("through"));
    await other.close();
    assert.equal(await text(reader), "through");
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(sent <= WINDOW_BYTES, `${sent}`);
  });

  it("ends one direction badly and leaves the other", async () => {
    const [ours, theirs] = pair();
    const [here, there] = [ours.open(5), theirs.open(5)];
    await here.readable.cancel();
    await assert.rejects(there.writable.getWriter().closed, /reader gave up/);
    const writer = here.writable.getWriter();
    await writer.write(Buffer.from("still"));
    await writer.close();
    assert.equal(await text(there.readable), "still");
    const [other, gone] = [ours.open(6), theirs.open(6)];
    await other.writable.abort();
    await assert.rejects(text(gone.readable), /sender gave up/);
  });

  it("fails every connection when the other side goes", async () => {
    const [ours, theirs] = pair();
    const here = ours.open(1);
    theirs.close();
    await assert.rejects(text(here.readable), FrameError);
    await ours.closed;
  });

  for (const [why, frames] of [
    [
      "more data than it granted",
      [
        encodeFrame(frameKinds.data, 1, new Uint8Array(WINDOW_BYTES)),
        encodeFrame(frameKinds.data, 1, new Uint8Array(1)),
      ],
    ],
    ["a frame longer than any", [Uint8Array.from([0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0])]],
    ["a grant of no number", [encodeFrame(frameKinds.window, 1, new Uint8Array(3))]],
  ] as const)
    it(`hangs up on a peer that sends ${why}`, async () => {
      const bridge = new Bridge(sockets[0], () => {});
      bridge.open(1);
      for (const frame of frames) sockets[1].write(frame);
      await bridge.closed;
      assert.ok(bridge.failure instanceof FrameError);
    });
});
