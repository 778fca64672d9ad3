import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Block } from "../../../vmm-sandbox/devices/block.ts";
import { DiskError, FileBackend } from "../../../vmm-sandbox/devices/file-backend.ts";
import { MEMORY_BYTES, TestDriver } from "./driver.ts";

const HEADER = 0x10_0000;
const DATA = 0x11_0000;
const STATUS = 0x12_0000;

describe("Block", () => {
  let folder = "";
  let path = "";
  const content = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7) >> 3);
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "block-"));
    path = join(folder, "disk");
    writeFileSync(path, content);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function setup(readOnly = false, empty = false) {
    const backend = new FileBackend(path, { readOnly });
    const device = new Block(backend, "disk0", { empty });
    // Shared, as RAM of the translator is: the backend must take such windows.
    const driver = new TestDriver(device, { buffer: new SharedArrayBuffer(MEMORY_BYTES) }).start();
    const request = (
      type: number,
      sector: number | bigint,
      buffers: { address: number; sizeBytes: number; write?: boolean }[],
    ) => {
      driver.memory.writeU32(HEADER, type);
      driver.memory.writeU64(HEADER + 8, BigInt(sector));
      driver.memory.writeU8(STATUS, 0xee);
      driver.add(0, [
        { address: HEADER, sizeBytes: 16 },
        ...buffers,
        { address: STATUS, sizeBytes: 1, write: true },
      ]);
      driver.kick(0);
      assert.equal(driver.used(0).length, 1);
      return driver.memory.readU8(STATUS);
    };
    return { backend, device, driver, request, [Symbol.dispose]: () => backend[Symbol.dispose]() };
  }

  it("reads sectors into several buffers", () => {
    using s = setup();
    const result = s.request(0, 2, [
      { address: DATA, sizeBytes: 512, write: true },
      { address: DATA + 0x1000, sizeBytes: 1024, write: true },
    ]);
    assert.equal(result, 0);
    assert.deepEqual(s.driver.memory.copyOut(DATA, 512), content.slice(1024, 1536));
    assert.deepEqual(s.driver.memory.copyOut(DATA + 0x1000, 1024), content.slice(1536, 2560));
  });

  it("writes, flushes and zeroes", () => {
    using s = setup();
    s.driver.memory.fill(DATA, 1024, 0xab);
    assert.equal(s.request(1, 4, [{ address: DATA, sizeBytes: 1024 }]), 0);
    assert.equal(s.request(4, 0, []), 0);
    s.driver.memory.writeU64(DATA, 5n);
    s.driver.memory.writeU32(DATA + 8, 1);
    assert.equal(s.request(13, 0, [{ address: DATA, sizeBytes: 16 }]), 0);
    const file = readFileSync(path);
    assert.ok(file.subarray(2048, 2560).every((byte) => byte === 0xab));
    assert.ok(file.subarray(2560, 3072).every((byte) => byte === 0));
    assert.deepEqual(Uint8Array.from(file.subarray(3072)), content.slice(3072));
  });

  it("tells its id and its capacity", () => {
    using s = setup();
    assert.equal(s.request(8, 0, [{ address: DATA, sizeBytes: 20, write: true }]), 0);
    assert.equal(Buffer.from(s.driver.memory.copyOut(DATA, 6)).toString(), "disk0\0");
    assert.equal(s.driver.transport.read(0x100, 4), 16);
  });

  const refused: readonly (readonly [
    why: string,
    type: number,
    sector: number | bigint,
    size: number,
    write: boolean,
    result: number,
  ])[] = [
    ["past the end", 0, 15, 1024, true, 1],
    ["a sector near 2^64", 0, 0xffff_ffff_ffff_ffffn, 512, true, 1],
    ["a broken sector", 0, 0, 100, true, 1],
    ["a write past the end", 1, 16, 512, false, 1],
    ["an unknown type", 99, 0, 512, true, 2],
    ["zeroing with half a range", 13, 0, 8, false, 1],
  ];
  for (const [why, type, sector, sizeBytes, write, result] of refused) {
    it(`refuses ${why} and leaves the file alone`, () => {
      using s = setup();
      assert.equal(s.request(type, sector, [{ address: DATA, sizeBytes, write }]), result);
      assert.deepEqual(Uint8Array.from(readFileSync(path)), content);
    });
  }

  it("writes nothing to a read-only disk, even if the driver tries", () => {
    using s = setup(true);
    assert.equal(s.request(1, 0, [{ address: DATA, sizeBytes: 512 }]), 1);
    assert.equal(s.request(13, 0, [{ address: DATA, sizeBytes: 16 }]), 1);
    assert.deepEqual(Uint8Array.from(readFileSync(path)), content);
    assert.equal(s.device.features & (1n << 5n), 1n << 5n);
  });

  it("fails a read when the file has shrunk, and goes on", () => {
    using s = setup();
    writeFileSync(path, content.slice(0, 4096));
    assert.equal(s.request(0, 12, [{ address: DATA, sizeBytes: 512, write: true }]), 1);
    assert.ok(s.device.lastFailure instanceof DiskError);
    assert.equal(s.request(0, 0, [{ address: DATA, sizeBytes: 512, write: true }]), 0);
  });

  it("gives requests without room for a status back", () => {
    using s = setup();
    s.driver.add(0, [{ address: HEADER, sizeBytes: 16 }]);
    s.driver.kick(0);
    assert.deepEqual(s.driver.used(0), [{ id: 0, length: 0 }]);
  });

  it("refuses a file that is no whole number of sectors, or a folder", () => {
    writeFileSync(path, "short");
    assert.throws(() => new FileBackend(path, { readOnly: true }), DiskError);
    assert.throws(() => new FileBackend(folder, { readOnly: true }), DiskError);
  });

  it("has no sectors while its drive is empty, and says when it has some", () => {
    using backend = new FileBackend(path, { readOnly: true });
    const device = new Block(backend, "disk0", { empty: true });
    const driver = new TestDriver(device).start();
    assert.equal(driver.transport.read(0x100, 4), 0);
    const before = driver.interrupts;
    device.insert();
    assert.equal(driver.transport.read(0x100, 4), 16);
    assert.equal(driver.interrupts, before + 1);
    assert.equal(driver.get("InterruptStatus"), 2);
  });

  it("reads nothing of an empty drive", () => {
    using s = setup(true, true);
    assert.equal(s.request(0, 0, [{ address: DATA, sizeBytes: 512, write: true }]), 1);
    s.device.insert();
    assert.equal(s.request(0, 0, [{ address: DATA, sizeBytes: 512, write: true }]), 0);
  });
});
