import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as abi from "../../../../vmm-sandbox/devices/fs/abi.ts";
import { VirtioFs } from "../../../../vmm-sandbox/devices/fs/virtio-fs.ts";
import { TestDriver } from "../driver.ts";

const REQUEST = 0x10_0000;
const REPLY = 0x11_0000;

describe("VirtioFs", () => {
  let folder: string;
  let device: VirtioFs;
  let driver: TestDriver;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "virtio-fs-"));
    writeFileSync(join(folder, "file"), "content");
    device = new VirtioFs("share", { path: folder, readOnly: true });
    driver = new TestDriver(device).start();
  });
  afterEach(() => {
    device[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const ask = (opcode: abi.Opcode, body: Uint8Array, room = 4096) => {
    const header = abi.in_header.encode({
      len: abi.in_header.sizeBytes + body.length,
      opcode: abi.opcodes[opcode],
      unique: 9,
      nodeid: abi.ROOT_ID,
    });
    const bytes = Buffer.concat([header, body]);
    driver.memory.window(REQUEST, bytes.length).set(bytes);
    driver.add(1, [
      { address: REQUEST, sizeBytes: 40 },
      { address: REQUEST + 40, sizeBytes: body.length },
      { address: REPLY, sizeBytes: 16, write: true },
      { address: REPLY + 16, sizeBytes: room, write: true },
    ]);
    driver.kick(1);
    assert.equal(driver.used(1).length, 1);
    return abi.out_header.decode(driver.memory.copyOut(REPLY, 16));
  };

  it("tells its tag and one request queue", () => {
    const bytes = [0, 4].map((offset) => driver.transport.read(0x100 + offset, 4));
    assert.equal(Buffer.from(new Uint32Array(bytes).buffer).toString(), "share\0\0\0");
    assert.equal(driver.transport.read(0x100 + 36, 4), 1);
  });

  it("answers requests that are spread over descriptors", () => {
    assert.equal(ask("INIT", abi.init_in.encode({ major: 7, minor: 38 })).error, 0);
    const found = ask("LOOKUP", Buffer.from("file\0"));
    assert.deepEqual([found.error, found.unique, found.len], [0, 9n, 16 + 40 + 88]);
  });

  it("gives a request back empty when its reply has no room", () => {
    driver.memory.fill(REPLY, 16, 0xaa);
    assert.equal(ask("LOOKUP", Buffer.from("file\0"), 8).len, 0xaaaa_aaaa);
  });

  it("refuses a tag that does not fit", () => {
    for (const tag of ["", "x".repeat(37)])
      assert.throws(() => new VirtioFs(tag, { path: folder, readOnly: true }), RangeError);
  });
});
