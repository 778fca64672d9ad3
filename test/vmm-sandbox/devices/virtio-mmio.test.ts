import assert from "node:assert/strict";
import { Entropy } from "../../../vmm-sandbox/devices/entropy.ts";
import { TestDriver } from "./driver.ts";

const DATA = 0x10_0000;

describe("VirtioMmio", () => {
  it("identifies itself as version 2 and offers VERSION_1", () => {
    const driver = new TestDriver(new Entropy());
    assert.equal(driver.get("MagicValue"), 0x74726976);
    assert.equal(driver.get("Version"), 2);
    assert.equal(driver.get("DeviceID"), 4);
    driver.set("DeviceFeaturesSel", 1);
    assert.equal(driver.get("DeviceFeatures") & 1, 1);
    driver.set("DeviceFeaturesSel", 2);
    assert.equal(driver.get("DeviceFeatures"), 0);
  });

  it("serves requests after the driver has gone the whole way", () => {
    const driver = new TestDriver(new Entropy()).start();
    assert.equal(driver.get("Status"), 15);
    driver.add(0, [{ address: DATA, sizeBytes: 64, write: true }]);
    driver.kick(0);
    assert.deepEqual(driver.used(0), [{ id: 0, length: 64 }]);
    assert.notDeepEqual(driver.memory.copyOut(DATA, 64), new Uint8Array(64));
    assert.equal(driver.interrupts, 1);
    assert.equal(driver.get("InterruptStatus"), 1);
    driver.set("InterruptACK", 1);
    assert.equal(driver.get("InterruptStatus"), 0);
  });

  it("caps what one request of any size gets", () => {
    const driver = new TestDriver(new Entropy()).start();
    driver.add(0, [{ address: DATA, sizeBytes: 0x20_0000, write: true }]);
    driver.kick(0);
    assert.deepEqual(driver.used(0), [{ id: 0, length: 65536 }]);
  });

  it("accepts no features that were not offered, nor a legacy driver", () => {
    for (const [half, value] of [
      [0, 1],
      [1, 2],
      [1, 0],
    ] as const) {
      const driver = new TestDriver(new Entropy());
      driver.set("Status", 1);
      driver.set("Status", 3);
      driver.set("DriverFeaturesSel", 1);
      driver.set("DriverFeatures", 1);
      driver.set("DriverFeaturesSel", half);
      driver.set("DriverFeatures", value);
      driver.set("Status", 11);
      assert.equal(driver.get("Status"), 3, `features ${half}:${value}`);
    }
  });

  it("lets the status go forward one step at a time only", () => {
    const driver = new TestDriver(new Entropy());
    for (const value of [2, 3, 4, 8, 11, 15]) {
      driver.set("Status", value);
      assert.equal(driver.get("Status"), 0, `0 -> ${value}`);
    }
    driver.set("Status", 1);
    driver.set("Status", 15);
    assert.equal(driver.get("Status"), 1);
    assert.ok(driver.transport.violations >= 7);
  });

  it("freezes queues and features at DRIVER_OK", () => {
    const driver = new TestDriver(new Entropy()).start();
    driver.set("QueueSel", 0);
    driver.set("QueueNum", 3);
    driver.set("QueueDescLow", 0xffff_fff0);
    driver.set("QueueReady", 0);
    driver.set("DriverFeatures", 0);
    assert.equal(driver.transport.violations, 4);
    driver.add(0, [{ address: DATA, sizeBytes: 8, write: true }]);
    driver.kick(0);
    assert.equal(driver.used(0).length, 1);
  });

  it("ignores a bell before DRIVER_OK and of queues that are not there", () => {
    const driver = new TestDriver(new Entropy());
    driver.kick(0);
    driver.start();
    driver.kick(1);
    driver.kick(0xffff_ffff);
    assert.equal(driver.transport.violations, 3);
    assert.equal(driver.get("Status"), 15);
  });

  it("stops with NEEDS_RESET and a config interrupt when the driver breaks a rule, and recovers by reset", () => {
    const driver = new TestDriver(new Entropy()).start();
    driver.publish(0, 999);
    driver.kick(0);
    assert.equal(driver.get("Status"), 15 | 64);
    assert.equal(driver.get("InterruptStatus"), 2);
    assert.match(driver.transport.failure ?? "", /entropy: Cannot use descriptor 999/);
    driver.add(0, [{ address: DATA, sizeBytes: 8, write: true }]);
    driver.kick(0);
    assert.deepEqual(driver.used(0), [], "a stopped device serves nothing");
    driver.memory.fill(0x1000, 0x6000, 0);
    driver.start();
    driver.add(0, [{ address: DATA, sizeBytes: 8, write: true }]);
    driver.kick(0);
    assert.equal(driver.used(0).length, 1);
  });

  for (const [why, register, value] of [
    ["larger than the device's", "QueueNum", 128],
    ["of no power of two", "QueueNum", 7],
    ["with rings outside RAM", "QueueDescHigh", 1],
  ] as const) {
    it(`starts no queue that is ${why}`, () => {
      const driver = new TestDriver(new Entropy());
      const original = driver.set.bind(driver);
      driver.set = (name, word) => {
        original(name, word);
        if (name === "QueueDeviceLow") original(register, value);
      };
      driver.start();
      assert.equal(driver.get("Status"), 15 | 64);
    });
  }

  it("answers accesses of other widths with zero and counts them", () => {
    const driver = new TestDriver(new Entropy());
    assert.equal(driver.transport.read(0, 1), 0);
    assert.equal(driver.transport.read(2, 2), 0);
    driver.transport.write(0x70, 1, 1);
    assert.equal(driver.get("Status"), 0);
    assert.equal(driver.transport.violations, 3);
  });

  it("goes on after save and restore in another transport", () => {
    const first = new TestDriver(new Entropy()).start();
    first.add(0, [{ address: DATA, sizeBytes: 8, write: true }]);
    first.kick(0);
    first.add(0, [{ address: DATA + 64, sizeBytes: 8, write: true }]); // its bell is lost
    const state = structuredClone(first.transport.save());
    const second = new TestDriver(new Entropy(), { buffer: first.memory.window(0, 1).buffer });
    second.transport.restore(state);
    assert.equal(second.get("Status"), 15);
    assert.equal(second.used(0).length, 2);
    assert.deepEqual(state.queues[0]?.rings, { nextAvailable: 1, nextUsed: 1 });
  });
});
