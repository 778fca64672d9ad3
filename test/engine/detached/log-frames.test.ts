import assert from "node:assert/strict";
import {
  decodeLogFrames,
  encodeLogFrame,
  MAX_FRAME_BYTES,
} from "../../../engine/detached/log-frames.ts";

describe("frames of a container's log", () => {
  const bytes = (text: string) => Buffer.from(text);

  it("are read as they were written, with stream and time", () => {
    const log = Buffer.concat([
      encodeLogFrame(1, bytes("out\n"), 1_700_000_000_250),
      encodeLogFrame(2, bytes(""), 1_700_000_001_000),
    ]);
    const { frames, usedBytes } = decodeLogFrames(log);
    assert.equal(usedBytes, log.length);
    const seen = frames.map(({ stream, seconds, nanoseconds, bytes: own }) => [
      stream,
      seconds,
      nanoseconds,
      Buffer.from(own).toString(),
    ]);
    assert.deepEqual(seen, [
      [1, 1_700_000_000, 250_000_000, "out\n"],
      [2, 1_700_000_001, 0, ""],
    ]);
  });

  it("that are not whole yet are left for later", () => {
    const log = encodeLogFrame(1, bytes("written in two halves"), 0);
    for (let length = 0; length < log.length; length++)
      assert.deepEqual(decodeLogFrames(log.subarray(0, length)), { frames: [], usedBytes: 0 });
  });

  for (const [why, offset, value] of [
    ["a stream that there is not", 0, 3],
    ["a frame that is too long", 4, MAX_FRAME_BYTES + 1],
  ] as const)
    it(`refuses ${why}`, () => {
      const log = Buffer.from(encodeLogFrame(1, bytes("x"), 0));
      log.writeUInt32LE(value, offset);
      assert.throws(() => decodeLogFrames(log), RangeError);
    });

  it("any bytes are frames, not yet frames, or refused", () => {
    let seed = 77;
    const random = (): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return seed >> 8;
    };
    for (let round = 0; round < 20_000; round++) {
      const log = Buffer.from(Array.from({ length: random() % 80 }, () => random() & 0xff));
      if (round % 2 === 0 && log.length >= 8) {
        log.writeUInt32LE(1 + (random() & 1), 0);
        log.writeUInt32LE(random() % 60, 4);
      }
      try {
        const { frames, usedBytes } = decodeLogFrames(log);
        const total = frames.reduce((sum, frame) => sum + 24 + frame.bytes.length, 0);
        assert.equal(total, usedBytes);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }
  });
});
