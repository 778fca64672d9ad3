import assert from "node:assert/strict";
import { Net, type NetBackend } from "../../../vmm-sandbox/devices/index.ts";
import { TestDriver } from "./driver.ts";

const DATA = 0x10_0000;
const mac = Uint8Array.of(0x02, 0x4d, 0x57, 0, 0, 1);
const frame = Uint8Array.from({ length: 60 }, (_, i) => i);

function setup() {
  const sent: Uint8Array[] = [];
  const backend: NetBackend = { send: (bytes) => void sent.push(bytes), onFrame: undefined };
  const device = new Net(backend, { mac });
  return { sent, backend, device, driver: new TestDriver(device).start() };
}

describe("Net", () => {
  it("tells its MAC address, link and MTU", () => {
    const { driver } = setup();
    const config = Array.from({ length: 12 }, (_, i) => driver.transport.read(0x100 + i, 1));
    assert.deepEqual(config, [...mac, 1, 0, 0, 0, 0xdc, 5]);
  });

  it("sends a frame without its header, over any number of descriptors", () => {
    const { driver, sent } = setup();
    driver.memory.copyIn(DATA + 12, frame);
    driver.add(1, [
      { address: DATA, sizeBytes: 20 },
      { address: DATA + 20, sizeBytes: 52 },
    ]);
    driver.kick(1);
    assert.deepEqual(sent, [frame]);
    assert.equal(driver.used(1).length, 1);
  });

  it("receives a frame behind a header that counts one buffer", () => {
    const { driver, backend } = setup();
    driver.add(0, [{ address: DATA, sizeBytes: 2000, write: true }]);
    driver.kick(0);
    backend.onFrame?.(frame);
    assert.deepEqual(driver.used(0), [{ id: 0, length: 72 }]);
    assert.deepEqual(
      driver.memory.copyOut(DATA, 12),
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0),
    );
    assert.deepEqual(driver.memory.copyOut(DATA + 12, 60), frame);
    assert.equal(driver.interrupts, 1);
  });

  it("drops frames that find no buffer, and takes the buffer for the next that fits", () => {
    const { driver, backend, device } = setup();
    backend.onFrame?.(frame);
    driver.add(0, [{ address: DATA, sizeBytes: 80, write: true }]);
    backend.onFrame?.(new Uint8Array(1000));
    backend.onFrame?.(frame);
    assert.equal(device.dropped, 2);
    assert.equal(driver.used(0).length, 1);
  });

  it("asks the other end to wait while there is no buffer, and loses nothing", () => {
    const said: string[] = [];
    const backend: NetBackend = {
      send() {},
      onFrame: undefined,
      pause: () => void said.push("pause"),
      resume: () => void said.push("resume"),
    };
    const device = new Net(backend, { mac });
    const driver = new TestDriver(device).start();
    backend.onFrame?.(frame);
    assert.deepEqual([said, device.dropped], [["pause"], 0]);
    driver.add(0, [{ address: DATA, sizeBytes: 2000, write: true }]);
    driver.kick(0);
    assert.deepEqual(said, ["pause", "resume"]);
    assert.deepEqual(driver.memory.copyOut(DATA + 12, 60), frame);
    backend.onFrame?.(frame);
    assert.deepEqual(said, ["pause", "resume", "pause"]);
    device.reset();
    assert.deepEqual([said.at(-1), device.dropped], ["resume", 0]);
  });

  for (const [why, length] of [
    ["shorter than a header", 4],
    ["shorter than Ethernet's", 20],
    ["longer than the MTU allows", 1531],
  ] as const) {
    it(`sends nothing that is ${why}`, () => {
      const { driver, sent, device } = setup();
      driver.add(1, [{ address: DATA, sizeBytes: length }]);
      driver.kick(1);
      assert.deepEqual([sent.length, device.dropped, driver.used(1).length], [0, 1, 1]);
    });
  }

  it("refuses a multicast address and an impossible MTU", () => {
    const backend: NetBackend = { send() {}, onFrame: undefined };
    assert.throws(() => new Net(backend, { mac: Uint8Array.of(1, 2, 3, 4, 5, 6) }), RangeError);
    assert.throws(() => new Net(backend, { mac, mtu: 10 }), RangeError);
  });
});
