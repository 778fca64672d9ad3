import assert from "node:assert/strict";
import {
  Bus,
  GuestMemory,
  type InterruptLine,
  Machine,
} from "../../../vmm-sandbox/machine/index.ts";

describe("Bus", () => {
  function logging(log: string[]) {
    return {
      read: (offset: number, size: number) => {
        log.push(`r${size}@${offset}`);
        return 0x8070_6050 + offset;
      },
      write: (offset: number, size: number, value: number) => {
        log.push(`w${size}@${offset}=${value.toString(16)}`);
      },
    };
  }

  it("finds the device of an address and splits 8-byte accesses", () => {
    const log: string[] = [];
    const bus = new Bus("MMIO");
    bus.attach({ name: "a", base: 0x1000, sizeBytes: 0x100, device: logging(log) });
    const data = new Uint8Array(8);
    bus.readBytes(0x1010, data);
    assert.deepEqual([...data], [0x60, 0x60, 0x70, 0x80, 0x64, 0x60, 0x70, 0x80]);
    bus.writeBytes(0x1010, Uint8Array.of(1, 2, 3, 0xff, 5, 6, 7, 8));
    bus.writeBytes(0x10fe, Uint8Array.of(1, 2));
    assert.deepEqual(log, ["r4@16", "r4@20", "w4@16=ff030201", "w4@20=8070605", "w2@254=201"]);
  });

  it("answers all ones where nobody is, and counts it", () => {
    const bus = new Bus("PIO");
    bus.attach({ name: "a", base: 0x10, sizeBytes: 4, device: logging([]) });
    assert.equal(bus.read(0x20, 1), 0xff);
    assert.equal(bus.read(0x20, 2), 0xffff);
    assert.equal(bus.read(0x12, 4), 0xffff_ffff); // straddles the window's end
    bus.write(0x20, 1, 1);
    assert.equal(bus.unclaimed, 4);
  });

  it("refuses overlapping windows, naming both", () => {
    const bus = new Bus("PIO");
    bus.attach({ name: "com1", base: 0x3f8, sizeBytes: 8, device: logging([]) });
    assert.throws(
      () => bus.attach({ name: "com1b", base: 0x3ff, sizeBytes: 8, device: logging([]) }),
      /"com1b".*"com1"/,
    );
  });
});

describe("Machine", () => {
  const interrupts = { line: (gsi: number): InterruptLine => ({ gsi, trigger() {} }) };
  const memory = GuestMemory.over(new ArrayBuffer(0x1000), 0x1000);

  it("hands out each interrupt line once, never the SCI's", () => {
    const machine = new Machine({ memory, interrupts });
    const lines = Array.from({ length: 18 }, () => machine.claimLine().gsi);
    assert.deepEqual(lines.slice(0, 6), [5, 6, 7, 8, 10, 11]);
    assert.equal(new Set(lines).size, 18);
    assert.throws(() => machine.claimLine(), /interrupt lines are taken/);
  });

  it("kicks every vCPU on stop and keeps the first reason", () => {
    const machine = new Machine({ memory, interrupts });
    let kicks = 0;
    machine.addVcpu({ kick: () => void kicks++ });
    machine.addVcpu({ kick: () => void kicks++ });
    machine.stop({ kind: "power-off" });
    machine.stop({ kind: "stopped" });
    assert.equal(kicks, 4);
    assert.deepEqual(machine.stopReason, { kind: "power-off" });
  });
});
