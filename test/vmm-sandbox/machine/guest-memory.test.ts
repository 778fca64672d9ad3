import assert from "node:assert/strict";
import {
  GuestMemory,
  GuestMemoryError,
  HOLE_END,
  HOLE_START,
  ramRanges,
} from "../../../vmm-sandbox/machine/index.ts";

const SIZE = 0x4000;

describe("GuestMemory", () => {
  it("lays RAM out around the hole below 4 GiB", () => {
    assert.deepEqual(ramRanges(0x1000), [{ guestAddress: 0, sizeBytes: 0x1000 }]);
    assert.deepEqual(ramRanges(HOLE_START + 0x3000), [
      { guestAddress: 0, sizeBytes: HOLE_START },
      { guestAddress: HOLE_END, sizeBytes: 0x3000 },
    ]);
  });

  for (const [why, size] of [
    ["zero", 0],
    ["negative", -4096],
    ["not pages", 4097],
    ["NaN", Number.NaN],
  ] as const) {
    it(`refuses a RAM size that is ${why}`, () => assert.throws(() => ramRanges(size), RangeError));
  }

  it("sits on a window of a shared buffer, as a WebAssembly memory's is", () => {
    const buffer = new SharedArrayBuffer(0x2_0000);
    const memory = GuestMemory.over(buffer, SIZE, 0x1_0000);
    memory.writeU32(0x10, 0xdeadbeef);
    assert.equal(new DataView(buffer).getUint32(0x1_0010, true), 0xdeadbeef);
    assert.equal(memory.readU64(0x10), 0xdeadbeefn);
  });

  it("crosses no hole: each region answers for its own addresses", () => {
    const memory = new GuestMemory([
      { guestAddress: 0, sizeBytes: SIZE, bytes: new Uint8Array(SIZE) },
      { guestAddress: HOLE_END, sizeBytes: SIZE, bytes: new Uint8Array(SIZE) },
    ]);
    memory.writeU16(HOLE_END + SIZE - 2, 0x1234);
    assert.equal(memory.loadU16(HOLE_END + SIZE - 2), 0x1234);
    assert.equal(memory.contains(SIZE - 1, 2), false);
    assert.throws(() => memory.readU16(SIZE - 1), GuestMemoryError);
    assert.throws(() => memory.window(HOLE_START, 1), GuestMemoryError);
  });

  it("serves accesses over the border of views that overlap, and counts shared bytes once", () => {
    const ram = new Uint8Array(0x3000);
    const memory = new GuestMemory([
      { guestAddress: 0, sizeBytes: 0x1800, bytes: ram.subarray(0, 0x1800) },
      { guestAddress: 0x1000, sizeBytes: 0x2000, bytes: ram.subarray(0x1000) },
    ]);
    assert.equal(memory.sizeBytes, 0x3000);
    memory.copyIn(0x17fe, Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual(memory.copyOut(0x17fc, 8), Uint8Array.of(0, 0, 1, 2, 3, 4, 0, 0));
    assert.equal(memory.contains(0xfff, 0x802), false);
  });

  const outside: readonly (readonly [why: string, address: number, size: number])[] = [
    ["past the end", SIZE, 1],
    ["one byte too long", 1, SIZE],
    ["negative", -1, 1],
    ["a fraction", 0.5, 1],
    ["NaN", Number.NaN, 1],
    ["infinite", Number.POSITIVE_INFINITY, 1],
    ["above 2^53", 2 ** 53, 1],
    ["of negative size", 8, -1],
    ["of a size that overflows", 8, Number.MAX_SAFE_INTEGER],
  ];
  for (const [why, address, size] of outside) {
    it(`refuses a window that is ${why}`, () => {
      const memory = GuestMemory.over(new ArrayBuffer(SIZE), SIZE);
      assert.throws(() => memory.window(address, size), GuestMemoryError);
      assert.equal(memory.contains(address, size), false);
    });
  }

  it("refuses an odd address for ring indices", () => {
    const memory = GuestMemory.over(new ArrayBuffer(SIZE), SIZE);
    assert.throws(() => memory.loadU16(1), GuestMemoryError);
  });

  it("reports writes of devices", () => {
    const memory = GuestMemory.over(new ArrayBuffer(SIZE), SIZE);
    const seen: number[][] = [];
    memory.onWrite = (address, size) => seen.push([address, size]);
    memory.copyIn(0x20, Uint8Array.of(1, 2, 3));
    memory.fill(0x40, 4, 0xff);
    memory.storeU16(0x50, 7);
    assert.deepEqual(seen, [
      [0x20, 3],
      [0x40, 4],
      [0x50, 2],
    ]);
    assert.deepEqual(memory.copyOut(0x20, 3), Uint8Array.of(1, 2, 3));
  });
});
