import assert from "node:assert/strict";
import { Balloon } from "../../../vmm-sandbox/devices/index.ts";
import { MEMORY_BYTES, TestDriver } from "./driver.ts";

const DATA = 0x10_0000;

function setup() {
  const ranges: [number, number][] = [];
  const device = new Balloon((address, size) => void ranges.push([address, size]));
  return { ranges, device, driver: new TestDriver(device).start() };
}

describe("Balloon", () => {
  it("gives back the pages that the guest hands over, neighbours together", () => {
    const { ranges, device, driver } = setup();
    [0x202, 0x200, 0x201, 0x300].forEach((page, i) => {
      driver.memory.writeU32(DATA + i * 4, page);
    });
    driver.add(0, [{ address: DATA, sizeBytes: 16 }]);
    driver.kick(0);
    assert.deepEqual(ranges, [
      [0x20_0000, 0x3000],
      [0x30_0000, 0x1000],
    ]);
    assert.equal(device.discardedBytes, 0x4000);
    assert.equal(driver.used(0).length, 1);
  });

  it("gives back what the guest reports as free", () => {
    const { ranges, driver } = setup();
    driver.add(2, [{ address: 0x20_0000, sizeBytes: 0x10_0000, write: true }]);
    driver.kick(2);
    assert.deepEqual(ranges, [[0x20_0000, 0x10_0000]]);
  });

  it("gives back nothing that is no whole page of RAM", () => {
    const { ranges, driver } = setup();
    driver.memory.writeU32(DATA, MEMORY_BYTES / 4096);
    driver.memory.writeU32(DATA + 4, 0xffff_ffff);
    driver.add(0, [{ address: DATA, sizeBytes: 8 }]);
    driver.add(2, [{ address: 0x20_0100, sizeBytes: 0x1000, write: true }]);
    driver.add(2, [{ address: 0x20_0000, sizeBytes: 0x800, write: true }]);
    driver.kick(0);
    driver.kick(2);
    assert.deepEqual(ranges, []);
    assert.equal(driver.get("Status"), 15);
  });

  it("tells the guest its target and learns what it handed over", () => {
    const { device, driver } = setup();
    device.setTarget(8 * 4096);
    assert.equal(driver.transport.read(0x100, 4), 8);
    assert.equal(driver.get("InterruptStatus"), 2);
    driver.transport.write(0x104, 4, 5);
    assert.equal(device.actualBytes, 5 * 4096);
    driver.transport.write(0x100, 4, 0);
    assert.equal(driver.transport.read(0x100, 4), 8, "the target is ours");
  });
});
