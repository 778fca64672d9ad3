/** A snapshot's file: what was written comes back, and nothing else is believed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CpuBackend, GuestMemory } from "../../../vmm-sandbox/machine/index.ts";
import { loadSnapshot, SnapshotError } from "../../../vmm-sandbox/snapshot/index.ts";
import { findPages } from "../../../vmm-sandbox/snapshot/pages.ts";
import { decodeData, encodeData } from "../../../vmm-sandbox/snapshot/plain-data.ts";
import { type OpenSnapshot, writeSnapshot } from "../../../vmm-sandbox/snapshot/snapshot-file.ts";
import { randomNumbers } from "../../oci/fuzz.ts";

const MiB = 2 ** 20;
const PAGE = 4096;
const key = createHash("sha256").update("this machine").digest();
const state = {
  cpu: { rip: 0xffff_ffff_8100_0000n, xsave: Uint8Array.of(1, 0, 255) },
  list: [1, null],
};

const code = Buffer.from("what was made of code");

/** The state; fills RAM. */
function read(file: OpenSnapshot, backend: Pick<CpuBackend, "memory" | "mapFile">): unknown {
  const snapshot = loadSnapshot(file, backend.memory.sizeBytes);
  snapshot.fill(backend);
  return snapshot.state;
}

function memoryWith(pages: readonly number[], sizeBytes = 4 * MiB): GuestMemory {
  const memory = GuestMemory.over(new SharedArrayBuffer(sizeBytes), sizeBytes);
  // The last byte of a page alone: the search must look at all of it.
  for (const page of pages) memory.writeU8(page * PAGE + PAGE - 1, 1 + (page & 0x7f));
  return memory;
}

const bytesOf = (memory: GuestMemory) => Buffer.from(memory.copyOut(0, memory.sizeBytes));

describe("a snapshot's file", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-snapshot-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function write(memory: GuestMemory): number {
    const fd = openSync(join(folder, "file"), "w+", 0o600);
    const size = writeSnapshot({ fd, key }, { memory, state, code });
    assert.equal(readFileSync(join(folder, "file")).length, size);
    return fd;
  }

  it("brings RAM and state back", () => {
    const memory = memoryWith([0, 1, 2, 40, 41, 511, 512, 1023]);
    const fd = write(memory);
    const other = memoryWith([]);
    assert.deepEqual(read({ fd, key }, { memory: other }), state);
    assert.ok(bytesOf(other).equals(bytesOf(memory)));
    const saved = loadSnapshot({ fd, key }, memory.sizeBytes).code ?? new SharedArrayBuffer(0);
    assert.deepEqual(Buffer.from(saved), code);
    closeSync(fd);
  });

  it("maps runs where the backend can, each at its place in the file", () => {
    const memory = memoryWith([3, 700]);
    const fd = write(memory);
    const mapped: number[][] = [];
    const mapFile = (file: unknown, ...where: [number, number, number]) => {
      assert.equal(file, "the file");
      mapped.push(where);
      return true;
    };
    read({ fd, key, file: "the file" }, { memory: memoryWith([]), mapFile });
    assert.deepEqual(mapped, [
      [PAGE, 3 * PAGE, PAGE],
      [2 * PAGE, 700 * PAGE, PAGE],
    ]);
    closeSync(fd);
  });

  it("holds pages that are not zero, and small gaps between them", () => {
    assert.deepEqual(findPages(memoryWith([1, 4, 100, 1023])), [
      { page: 1, count: 4 },
      { page: 100, count: 1 },
      { page: 1023, count: 1 },
    ]);
    assert.deepEqual(findPages(memoryWith([])), []);
    // Those that nobody touched are not looked at.
    const touched = () => Uint8Array.from({ length: 512 }, (_, page) => (page < 4 ? 0 : 1));
    assert.deepEqual(findPages(memoryWith([1, 100, 513, 600]), touched), [
      { page: 100, count: 1 },
      { page: 600, count: 1 },
    ]);
  });

  for (const [why, damage] of [
    ["empty", (fd: number) => ftruncateSync(fd, 0)],
    ["cut in its header", (fd: number) => ftruncateSync(fd, 100)],
    ["cut in its pages", (fd: number) => ftruncateSync(fd, 3 * PAGE)],
    ["one byte short", (fd: number, size: number) => ftruncateSync(fd, size - 1)],
    ["one byte longer", (fd: number, size: number) => ftruncateSync(fd, size + 1)],
    ["without a header, as one that was not finished", (fd: number) => overwrite(fd, 0, PAGE)],
    ["damaged in its header", (fd: number) => overwrite(fd, 24, 1)],
    ["damaged in its list of runs", (fd: number) => overwrite(fd, 4 * PAGE + code.length, 8)],
    ["damaged in its state", (fd: number, size: number) => overwrite(fd, size - 10, 2)],
  ] as const)
    it(`is not used when it is ${why}`, () => {
      const fd = write(memoryWith([5, 6, 600]));
      damage(fd, readFileSync(join(folder, "file")).length);
      const other = memoryWith([]);
      assert.throws(() => read({ fd, key }, { memory: other }), SnapshotError);
      assert.deepEqual(findPages(other), [], "nothing was changed");
      closeSync(fd);
    });

  it("is not used for another machine, or one with other RAM", () => {
    const fd = write(memoryWith([5]));
    const foreign = { fd, key: Buffer.alloc(32, 1) };
    assert.throws(() => read(foreign, { memory: memoryWith([]) }), /another key/);
    const larger = { memory: memoryWith([], 8 * MiB) };
    assert.throws(() => read({ fd, key }, larger), /4194304 bytes of RAM: expected 8388608/);
    closeSync(fd);
  });

  it("fails with SnapshotError alone, whatever its bytes are", () => {
    const random = randomNumbers(20261122);
    const fd = write(memoryWith([2, 3, 300]));
    const whole = readFileSync(join(folder, "file"));
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.from(whole);
      const edits = 1 + random(4);
      for (let i = 0; i < edits; i++) {
        // Mostly where lengths and counts are.
        const at = random(2) === 0 ? random(160) : random(bytes.length);
        bytes[at] = random(256);
      }
      // With right digests half of the time, so that what lies behind them is reached.
      if (random(2) === 0) seal(bytes);
      ftruncateSync(fd, 0);
      writeSync(fd, bytes, 0, bytes.length, 0);
      try {
        read({ fd, key }, { memory: memoryWith([]) });
      } catch (error) {
        assert.ok(error instanceof SnapshotError, `round ${round}: ${error}`);
      }
    }
    closeSync(fd);
  }).timeout(60_000);
});

describe("plain data", () => {
  it("keeps integers of any size, bytes, and what JSON knows", () => {
    const value = { a: -5n, b: [2n ** 64n - 1n, Uint8Array.of(), "text", true, null, 1.5], $c: {} };
    assert.deepEqual(decodeData(encodeData(value)), value);
  });

  for (const [why, text] of [
    ["no JSON", "{"],
    ["an integer that is none", '{"$int":"12x"}'],
    ["an integer without end", `{"$int":"${"9".repeat(41)}"}`],
    ["bytes that are a number", '{"$bytes":5}'],
    ["nesting without end", "[".repeat(100) + "]".repeat(100)],
  ] as const)
    it(`refuses ${why}`, () => assert.throws(() => decodeData(text), SyntaxError));
});

function overwrite(fd: number, at: number, length: number): void {
  writeSync(fd, Buffer.alloc(length, at === 0 ? 0 : 0xa5), 0, length, at);
}

/** What an attacker or a bug with the right digests would write. */
function seal(bytes: Buffer): void {
  const sha256 = (part: Uint8Array) => createHash("sha256").update(part).digest();
  const pages = Number(bytes.readBigUInt64LE(24) & 0xffffn);
  const trailerAt = PAGE + pages * PAGE + bytes.readUInt32LE(36);
  sha256(bytes.subarray(Math.min(trailerAt, bytes.length))).copy(bytes, 96);
  sha256(bytes.subarray(0, 128)).copy(bytes, 128);
}
