import assert from "node:assert/strict";
import { Vsock, type VsockConnection, VsockError } from "../../../vmm-sandbox/devices/index.ts";
import {
  decodeHeader,
  encodeHeader,
  operations,
  type Packet,
} from "../../../vmm-sandbox/devices/vsock-packet.ts";
import { TestDriver } from "./driver.ts";

const RX = 0x10_0000;
const TX = 0x20_0000;
const { REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST } = operations;

function setup(receiveBuffers = 8) {
  const device = new Vsock(3);
  const driver = new TestDriver(device).start();
  let given = 0;
  const give = (count: number, size = 4096 + 44) => {
    for (let i = 0; i < count; i++) {
      driver.add(0, [{ address: RX + (given++ % 16) * 0x4000, sizeBytes: size, write: true }]);
    }
    driver.kick(0);
  };
  give(receiveBuffers);
  let taken = 0;
  /** Packets that arrived in the guest. */
  const received = (): { packet: Packet; data: string }[] =>
    driver.used(0).map(({ length }) => {
      const bytes = driver.memory.copyOut(RX + (taken++ % 16) * 0x4000, length);
      return {
        packet: decodeHeader(bytes),
        data: Buffer.from(bytes.subarray(44)).toString("latin1"),
      };
    });
  const send = (fields: Partial<Packet>, data = "") => {
    const packet: Packet = {
      srcCid: 3n,
      dstCid: 2n,
      srcPort: 5000,
      dstPort: 1024,
      length: data.length,
      type: 1,
      operation: RW,
      flags: 0,
      bufAlloc: 65536,
      fwdCnt: 0,
      ...fields,
    };
    driver.memory.copyIn(TX, encodeHeader(packet));
    driver.memory.copyIn(TX + 64, Buffer.from(data, "latin1"));
    driver.add(1, [
      { address: TX, sizeBytes: 44 },
      { address: TX + 64, sizeBytes: data.length },
    ]);
    driver.kick(1);
    driver.used(1);
  };
  const accept = (): VsockConnection => {
    let connection: VsockConnection | undefined;
    using _ = device.listen(1024, (accepted) => {
      connection = accepted;
    });
    send({ operation: REQUEST });
    assert.equal(received()[0]?.packet.operation, RESPONSE);
    assert.ok(connection);
    return connection;
  };
  return { device, driver, give, received, send, accept };
}

/** A stream starts in a microtask of its own. */
const soon = () => new Promise((resolve) => setImmediate(resolve));

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const bytes of stream) text += Buffer.from(bytes).toString("latin1");
  return text;
}

describe("Vsock", () => {
  it("tells the guest its CID", () => {
    const { driver } = setup();
    assert.equal(driver.transport.read(0x100, 4), 3);
    assert.throws(() => new Vsock(2), RangeError);
  });

  it("accepts what the guest dials and carries bytes both ways", async () => {
    const s = setup();
    const connection = s.accept();
    s.send({}, "hello ");
    s.send({}, "host");
    s.send({ operation: SHUTDOWN, flags: 2 });
    assert.equal(await readAll(connection.readable), "hello host");
    const writer = connection.writable.getWriter();
    await writer.write(Buffer.from("hello guest"));
    const [packet] = s.received();
    assert.equal(packet?.data, "hello guest");
    assert.deepEqual(
      [packet?.packet.operation, packet?.packet.srcPort, packet?.packet.dstPort],
      [RW, 1024, 5000],
    );
    assert.equal(packet?.packet.fwdCnt, 10);
    await writer.close();
    assert.deepEqual(
      s.received().map(({ packet }) => [packet.operation, packet.flags]),
      [[SHUTDOWN, 2]],
    );
  });

  it("refuses a port where nobody listens", () => {
    const s = setup();
    s.send({ operation: REQUEST, dstPort: 99 });
    assert.deepEqual(
      s.received().map(({ packet }) => [packet.operation, packet.srcPort]),
      [[RST, 99]],
    );
  });

  it("dials the guest", async () => {
    const s = setup();
    const dialled = s.device.connect(80);
    const [request] = s.received();
    assert.equal(request?.packet.operation, REQUEST);
    assert.equal(request?.packet.dstPort, 80);
    s.send({ operation: RESPONSE, srcPort: 80, dstPort: request?.packet.srcPort ?? 0 });
    const connection = await dialled;
    assert.equal(connection.guestPort, 80);
    const refused = s.device.connect(81);
    s.send({ operation: RST, srcPort: 81, dstPort: s.received()[0]?.packet.srcPort ?? 0 });
    await assert.rejects(refused, VsockError);
  });

  it("sends no more than the guest's credit, and goes on when it grows", async () => {
    const s = setup();
    const connection = s.accept();
    s.send({ operation: CREDIT_UPDATE, bufAlloc: 10, fwdCnt: 0 });
    const writer = connection.writable.getWriter();
    const written = writer.write(Buffer.from("0123456789abcdef"));
    await soon();
    assert.equal(
      s
        .received()
        .map(({ data }) => data)
        .join(""),
      "0123456789",
    );
    s.send({ operation: CREDIT_UPDATE, bufAlloc: 10, fwdCnt: 4 });
    assert.equal(
      s
        .received()
        .map(({ data }) => data)
        .join(""),
      "abcd",
    );
    s.send({ operation: CREDIT_UPDATE, bufAlloc: 10, fwdCnt: 14 });
    await written;
    assert.equal(
      s
        .received()
        .map(({ data }) => data)
        .join(""),
      "ef",
    );
  });

  it("splits bytes over receive buffers and waits for more of them", async () => {
    const s = setup(1);
    const connection = s.accept();
    const writer = connection.writable.getWriter();
    const written = writer.write(Buffer.from("x".repeat(10_000)));
    await soon();
    assert.equal(s.received().length, 0);
    s.give(2);
    assert.deepEqual(
      s.received().map(({ data }) => data.length),
      [4096, 4096],
    );
    s.give(1);
    await written;
    assert.deepEqual(
      s.received().map(({ data }) => data.length),
      [1808],
    );
  });

  it("lets a shutdown wait for the data before it", async () => {
    const s = setup(1);
    const connection = s.accept();
    const writer = connection.writable.getWriter();
    const written = writer.write(Buffer.from("last words"));
    const closed = writer.close();
    s.give(2);
    await Promise.all([written, closed]);
    assert.deepEqual(
      s.received().map(({ packet }) => packet.operation),
      [RW, SHUTDOWN],
    );
  });

  it("grants credit again as the reader consumes", async () => {
    const s = setup();
    const connection = s.accept();
    for (let i = 0; i < 4; i++) s.send({}, "y".repeat(60_000));
    assert.equal(s.received().length, 0);
    const reader = connection.readable.getReader();
    for (let i = 0; i < 3; i++) await reader.read();
    const [update] = s.received();
    assert.equal(update?.packet.operation, CREDIT_UPDATE);
    assert.equal(update?.packet.fwdCnt, 180_000);
  });

  it("ends a connection whose guest sends beyond its credit", async () => {
    const s = setup();
    const connection = s.accept();
    for (let i = 0; i < 5; i++) s.send({}, "z".repeat(60_000));
    assert.deepEqual(
      s.received().map(({ packet }) => packet.operation),
      [RST],
    );
    await assert.rejects(readAll(connection.readable), /more than it was granted/);
  });

  it("answers a credit request", () => {
    const s = setup();
    s.accept();
    s.send({ operation: CREDIT_REQUEST });
    const [update] = s.received();
    assert.deepEqual(
      [update?.packet.operation, update?.packet.bufAlloc],
      [CREDIT_UPDATE, 256 * 1024],
    );
  });

  it("confirms the guest's close and keeps what came before it", async () => {
    const s = setup();
    const connection = s.accept();
    s.send({}, "bye");
    s.send({ operation: SHUTDOWN, flags: 3 });
    assert.deepEqual(
      s.received().map(({ packet }) => packet.operation),
      [RST],
    );
    assert.equal(await readAll(connection.readable), "bye");
    await assert.rejects(connection.writable.getWriter().write(Buffer.from("x")), VsockError);
  });

  it("fails both directions on a reset, and on a reset of the device", async () => {
    for (const how of ["connection", "device"] as const) {
      const s = setup();
      const connection = s.accept();
      if (how === "connection") s.send({ operation: RST });
      else s.driver.set("Status", 0);
      await assert.rejects(readAll(connection.readable), VsockError);
    }
  });

  const nonsense: readonly (readonly [
    why: string,
    packet: Partial<Packet>,
    answer: number | undefined,
  ])[] = [
    ["from another CID", { srcCid: 7n }, undefined],
    ["to another CID", { dstCid: 9n }, undefined],
    ["of an unknown type", { type: 2 }, RST],
    ["longer than its descriptors", { length: 5000 }, RST],
    ["of 4 GiB", { length: 0xffff_ffff }, RST],
    ["for a connection that is not there", { srcPort: 1 }, RST],
    ["of an unknown operation", { operation: 77 }, RST],
    ["that answers nothing", { operation: RESPONSE }, RST],
  ];
  for (const [why, packet, answer] of nonsense) {
    it(`answers a packet ${why} with ${answer === undefined ? "nothing" : "a reset"}`, () => {
      const s = setup();
      s.accept();
      s.send(packet, "data");
      assert.deepEqual(
        s.received().map(({ packet: { operation } }) => operation),
        answer === undefined ? [] : [answer],
      );
      assert.equal(s.driver.get("Status"), 15);
    });
  }

  it("does not answer a reset with a reset", () => {
    const s = setup();
    s.send({ operation: RST, srcPort: 1 });
    assert.deepEqual(s.received(), []);
  });

  it("leaves the transmit queue alone when a guest asks without taking answers", () => {
    const s = setup(0);
    for (let i = 0; i < 520; i++) s.send({ operation: REQUEST, srcPort: i });
    const { available } = s.driver.rings(1);
    assert.equal(s.driver.memory.readU16(available + 2), 520);
    assert.equal(s.driver.memory.readU16(s.driver.rings(1).used + 2), 512);
    s.give(8);
    assert.equal(s.received().length, 8);
  });

  it("tells a restored guest that its connections are gone", () => {
    const s = setup();
    s.accept();
    const state = structuredClone(s.driver.transport.save());
    const other = new TestDriver(new Vsock(3), { buffer: s.driver.memory.window(0, 1).buffer });
    other.transport.restore(state);
    other.memory.fill(RX, 8, 0xff);
    other.add(2, [{ address: RX, sizeBytes: 4, write: true }]);
    other.kick(2);
    assert.equal(other.memory.readU32(RX), 0);
    assert.equal(other.memory.readU16(other.rings(2).used + 2), 1);
  });

  it("says when no connection is left", async () => {
    const s = setup();
    s.accept();
    let quiet = false;
    const waiting = s.device.whenQuiet().then(() => {
      quiet = true;
    });
    await soon();
    assert.equal(quiet, false);
    s.send({ operation: SHUTDOWN, flags: 3 });
    await waiting;
    await s.device.whenQuiet();
  });

  it("holds a call until it is released, also in a restored machine, which then needs no reset", () => {
    const s = setup();
    let accepted = 0;
    using _ = s.device.listen(1024, () => void accepted++);
    s.device.hold(1024, 1);
    s.send({ operation: REQUEST });
    assert.equal(accepted, 1, "the call before it");
    s.send({ operation: SHUTDOWN, flags: 3 });
    s.received();
    assert.equal(s.device.hasConnections, false);
    s.send({ operation: REQUEST });
    assert.deepEqual([accepted, s.received()], [1, []]);
    const state = structuredClone(s.driver.transport.save());
    s.device.release();
    assert.equal(accepted, 2);
    assert.equal(s.received()[0]?.packet.operation, RESPONSE);

    const vsock = new Vsock(3);
    const other = new TestDriver(vsock, { buffer: s.driver.memory.window(0, 1).buffer });
    other.transport.restore(state);
    const ports: number[] = [];
    using __ = vsock.listen(1024, ({ guestPort }) => void ports.push(guestPort));
    assert.deepEqual(ports, []);
    vsock.release();
    assert.deepEqual(ports, [5000]);
    other.add(2, [{ address: RX, sizeBytes: 4, write: true }]);
    other.kick(2);
    assert.equal(other.memory.readU16(other.rings(2).used + 2), 0, "no event");
  });
});
