import assert from "node:assert/strict";
import { Console } from "../../../vmm-sandbox/devices/console.ts";
import { Serial } from "../../../vmm-sandbox/devices/serial.ts";
import { TestDriver } from "./driver.ts";

const DATA = 0x10_0000;
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

describe("Console", () => {
  it("prints what the guest writes, over several segments", () => {
    const output: string[] = [];
    const driver = new TestDriver(new Console((bytes) => output.push(text(bytes)))).start();
    driver.memory.copyIn(DATA, Buffer.from("hello, "));
    driver.memory.copyIn(DATA + 64, Buffer.from("world"));
    driver.add(1, [
      { address: DATA, sizeBytes: 7 },
      { address: DATA + 64, sizeBytes: 5 },
    ]);
    driver.kick(1);
    assert.equal(output.join(""), "hello, world");
    assert.deepEqual(driver.used(1), [{ id: 0, length: 0 }]);
  });

  it("keeps input until the guest offers buffers, whatever their size", () => {
    const device = new Console(() => {});
    const driver = new TestDriver(device).start();
    assert.equal(device.input(Buffer.from("abcdef")), true);
    driver.add(0, [{ address: DATA, sizeBytes: 4, write: true }]);
    driver.kick(0);
    assert.deepEqual(driver.used(0), [{ id: 0, length: 4 }]);
    assert.equal(text(driver.memory.copyOut(DATA, 4)), "abcd");
    driver.add(0, [{ address: DATA, sizeBytes: 4, write: true }]);
    driver.kick(0);
    assert.deepEqual(driver.used(0), [{ id: 1, length: 2 }]);
    driver.add(0, [{ address: DATA, sizeBytes: 4, write: true }]);
    driver.kick(0);
    device.input(Buffer.from("xy"));
    assert.deepEqual(driver.used(0), [{ id: 2, length: 2 }]);
  });

  it("asks its source to stop when the guest does not read, and to go on later", () => {
    const device = new Console(() => {});
    const driver = new TestDriver(device).start();
    let drained = 0;
    device.onDrain = () => void drained++;
    assert.equal(device.input(new Uint8Array(64 * 1024)), false);
    driver.add(0, [{ address: DATA, sizeBytes: 4096, write: true }]);
    driver.kick(0);
    assert.equal(drained, 1);
  });

  it("tells the guest of a new window size", () => {
    const device = new Console(() => {});
    const driver = new TestDriver(device).start();
    device.resize(132, 43);
    assert.equal(driver.transport.read(0x100, 2), 132);
    assert.equal(driver.transport.read(0x102, 2), 43);
    assert.equal(driver.get("InterruptStatus"), 2);
    assert.equal(driver.get("ConfigGeneration"), 1);
  });
});

describe("Serial", () => {
  function setup() {
    let edges = 0;
    let output = "";
    const serial = new Serial({ gsi: 4, trigger: () => void edges++ }, (byte) => {
      output += String.fromCharCode(byte);
    });
    return { serial, edges: () => edges, output: () => output };
  }

  it("prints, and interrupts when the transmitter is empty and that is enabled", () => {
    const { serial, edges, output } = setup();
    for (const character of "ok") serial.write(0, 1, character.charCodeAt(0));
    assert.equal(output(), "ok");
    assert.equal(edges(), 0);
    serial.write(1, 1, 2);
    assert.equal(edges(), 1);
    assert.equal(serial.read(2) & 0xf, 2);
    assert.equal(serial.read(2) & 0xf, 1);
    serial.write(0, 1, 33);
    assert.equal(edges(), 2);
  });

  it("hands input out byte by byte with an edge for each that is left", () => {
    const { serial, edges } = setup();
    serial.write(1, 1, 1);
    assert.equal(serial.input(Uint8Array.of(1, 2)), 2);
    assert.equal(serial.read(5) & 1, 1);
    assert.equal(serial.read(2) & 0xf, 4);
    assert.equal(serial.read(0), 1);
    assert.equal(serial.read(0), 2);
    assert.equal(serial.read(5) & 1, 0);
    assert.equal(edges(), 2);
  });

  it("passes the tests by which Linux detects a 16550A", () => {
    const { serial } = setup();
    serial.write(7, 1, 0x5a);
    assert.equal(serial.read(7), 0x5a);
    serial.write(4, 1, 0x1a); // loop-back, RTS and OUT2
    assert.equal(serial.read(6) & 0xf0, 0x90);
    serial.write(2, 1, 1);
    assert.equal(serial.read(2) >> 6, 3);
    serial.write(3, 1, 0x80);
    serial.write(0, 1, 0x34);
    serial.write(1, 1, 0x12);
    assert.equal(serial.read(0), 0x34);
    assert.equal(serial.read(1), 0x12);
    serial.write(3, 1, 3);
    assert.equal(serial.read(1), 0);
  });

  it("takes no more input than it has room for", () => {
    assert.equal(setup().serial.input(new Uint8Array(10_000)), 4096);
  });

  it("goes on after save and restore", () => {
    const { serial } = setup();
    serial.write(1, 1, 1);
    serial.input(Uint8Array.of(7));
    const other = setup();
    other.serial.restore(structuredClone(serial.save()));
    assert.equal(other.edges(), 1);
    assert.equal(other.serial.read(0), 7);
  });
});
