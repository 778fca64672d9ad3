/** A monitor that its guest has taken over: frames of any kind, id and length, cut anywhere. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { Bridge, WINDOW_BYTES } from "../../../vmm-sandbox/monitor/bridge.ts";
import {
  decodeWord,
  encodeFrame,
  encodeWord,
  FrameError,
  frameKinds,
  MAX_PAYLOAD_BYTES,
} from "../../../vmm-sandbox/monitor/frames.ts";
import { Random } from "../devices/virtio.fuzz.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? 1);
const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 200);
const STEPS = 200;

class FakeSocket extends EventEmitter {
  readonly writableLength = 0;
  isDestroyed = false;
  write(): boolean {
    return true;
  }
  destroy(): void {
    if (this.isDestroyed) return;
    this.isDestroyed = true;
    this.emit("close");
  }
}

/** Mostly what a monitor would say; `opened` counts the connections that it claims to have. */
function forge(random: Random, opened: { count: number }): Uint8Array {
  const { accepted, data, window } = frameKinds;
  const kinds = Object.values(frameKinds) as [number, ...number[]];
  const kind = random.chance(60) ? data : random.chance(97) ? random.pick(kinds) : random.below(99);
  const isWord = (kind === window || kind === accepted) && random.chance(99);
  const size = random.chance(99) ? random.below(4000) : random.below(MAX_PAYLOAD_BYTES);
  const payload = isWord
    ? encodeWord(random.pick([0, 1, 0xffff_ffff, random.below(2 ** 31)]))
    : new Uint8Array(size);
  const fresh = kind === accepted && random.chance(97);
  const id = fresh ? opened.count++ : random.below(opened.count + 2);
  const frame = encodeFrame(kind, random.chance(99) ? id : random.below(2 ** 31), payload);
  if (random.below(500) === 0) new DataView(frame.buffer).setUint32(0, random.below(2 ** 31), true);
  return frame;
}

describe(`Bridge against a hostile peer (seed ${seed})`, function () {
  this.timeout(Math.max(60_000, rounds * 1000));

  it("throws nothing, keeps no more than it granted, and breaks by FrameError alone (fuzz)", async () => {
    let delivered = 0;
    let broken = 0;
    for (let round = 0; round < rounds; round++) {
      const random = new Random(seed * 1_000_003 + round);
      const socket = new FakeSocket();
      const opened = { count: 1 };
      const bridge: Bridge = new Bridge(socket as unknown as Socket, (kind, id, payload) => {
        if (kind !== frameKinds.accepted) return;
        decodeWord(payload);
        const { readable, writable } = bridge.open(id);
        // One of them is never read: what waits is bounded by its window.
        if (id % 3 !== 0)
          readable
            .pipeTo(new WritableStream({ write: () => void delivered++ }))
            .catch(() => undefined);
        writable
          .getWriter()
          .write(new Uint8Array(WINDOW_BYTES * 2))
          .catch(() => undefined);
      });
      for (let step = 0; step < STEPS && !socket.isDestroyed; step++) {
        const frame = forge(random, opened);
        const cut = random.below(frame.length + 1);
        socket.emit("data", Buffer.from(frame.subarray(0, cut)));
        socket.emit("data", Buffer.from(frame.subarray(cut)));
        if (step % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      if (bridge.failure !== undefined) {
        assert.ok(bridge.failure instanceof FrameError, String(bridge.failure));
        assert.ok(socket.isDestroyed);
        broken += 1;
      }
      bridge.close();
      await bridge.closed;
    }
    assert.ok(delivered > rounds && broken > 0, `${delivered} delivered, ${broken} broken`);
  });
});
