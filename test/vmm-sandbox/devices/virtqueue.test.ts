import assert from "node:assert/strict";
import { gather, scatter } from "../../../vmm-sandbox/devices/chain-bytes.ts";
import {
  type DescriptorChain,
  QueueError,
  Virtqueue,
} from "../../../vmm-sandbox/devices/virtqueue.ts";
import { GuestMemory } from "../../../vmm-sandbox/machine/index.ts";

const SIZE = 8;
const TABLE = 0x1000;
const AVAILABLE = 0x2000;
const USED = 0x3000;
const DATA = 0x8000;

function setup(options: { eventIdx?: boolean; indirect?: boolean } = {}) {
  const memory = GuestMemory.over(new SharedArrayBuffer(0x1_0000), 0x1_0000);
  let interrupts = 0;
  const queue = new Virtqueue(memory, {
    size: SIZE,
    descriptors: TABLE,
    available: AVAILABLE,
    used: USED,
    eventIdx: options.eventIdx ?? false,
    indirect: options.indirect ?? true,
    interrupt: () => void interrupts++,
    again: () => {},
  });
  const describe = (
    index: number,
    address: number,
    size: number,
    flags = 0,
    next = 0,
    table = TABLE,
  ) => {
    memory.writeU64(table + index * 16, BigInt(address));
    memory.writeU32(table + index * 16 + 8, size);
    memory.writeU16(table + index * 16 + 12, flags);
    memory.writeU16(table + index * 16 + 14, next);
  };
  let index = 0;
  const publish = (head: number) => {
    memory.writeU16(AVAILABLE + 4 + (index % SIZE) * 2, head);
    index = (index + 1) & 0xffff;
    memory.storeU16(AVAILABLE + 2, index);
  };
  return { memory, queue, describe, publish, interrupts: () => interrupts };
}

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

describe("Virtqueue", () => {
  it("pops a chain of readable and writable segments and returns it", () => {
    const { memory, queue, describe, publish, interrupts } = setup();
    describe(3, DATA, 4, NEXT, 5);
    describe(5, DATA + 0x10, 6, NEXT | WRITE, 1);
    describe(1, DATA + 0x20, 2, WRITE);
    publish(3);
    memory.copyIn(DATA, Uint8Array.of(1, 2, 3, 4));
    const chain = queue.pop();
    assert.ok(chain);
    assert.deepEqual([chain.readableBytes, chain.writableBytes], [4, 8]);
    assert.deepEqual(gather(memory, chain.readable, 100), Uint8Array.of(1, 2, 3, 4));
    assert.equal(scatter(memory, chain.writable, Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2, 1)), 8);
    assert.deepEqual(memory.copyOut(DATA + 0x20, 2), Uint8Array.of(3, 2));
    queue.push(chain, 8);
    queue.signal();
    assert.equal(memory.readU16(USED + 2), 1);
    assert.equal(memory.readU32(USED + 4), 3);
    assert.equal(memory.readU32(USED + 8), 8);
    assert.equal(interrupts(), 1);
    assert.equal(queue.pop(), undefined);
  });

  it("reads indirect tables", () => {
    const { queue, describe, publish } = setup();
    describe(0, 0x4000, 32, INDIRECT);
    describe(0, DATA, 10, NEXT, 1, 0x4000);
    describe(1, DATA + 100, 20, WRITE, 0, 0x4000);
    publish(0);
    const chain = queue.pop();
    assert.deepEqual([chain?.readableBytes, chain?.writableBytes], [10, 20]);
  });

  it("keeps order and indices over 65536 wraps", () => {
    const { queue, describe, publish, memory } = setup({ eventIdx: true });
    describe(0, DATA, 1);
    for (let i = 0; i < 70_000; i++) {
      publish(0);
      const chain = queue.pop() as DescriptorChain;
      queue.push(chain, 0);
    }
    assert.equal(memory.readU16(USED + 2), 70_000 & 0xffff);
    assert.deepEqual(queue.save(), { nextAvailable: 70_000 & 0xffff, nextUsed: 70_000 & 0xffff });
  });

  it("interrupts only past the event index", () => {
    const { memory, queue, describe, publish, interrupts } = setup({ eventIdx: true });
    for (let i = 0; i < 4; i++) describe(i, DATA, 1);
    const finish = (head: number) => {
      publish(head);
      queue.push(queue.pop() as DescriptorChain, 0);
      queue.signal();
    };
    memory.storeU16(AVAILABLE + 4 + SIZE * 2, 2); // used_event: tell me of entry 2
    finish(0);
    finish(1);
    assert.equal(interrupts(), 0);
    finish(2);
    assert.equal(interrupts(), 1);
    finish(3);
    assert.equal(interrupts(), 1);
  });

  it("honours NO_INTERRUPT without event index", () => {
    const { memory, queue, describe, publish, interrupts } = setup();
    describe(0, DATA, 1);
    memory.storeU16(AVAILABLE, 1);
    publish(0);
    queue.poll((chain) => {
      queue.push(chain, 0);
      return true;
    });
    assert.equal(interrupts(), 0);
  });

  it("poll() asks for notifications again before it ends, and gives back what cannot be served", () => {
    const { memory, queue, describe, publish } = setup({ eventIdx: true });
    describe(0, DATA, 1);
    publish(0);
    queue.poll(() => false);
    assert.equal(queue.pending(), 1);
    queue.poll((chain) => {
      queue.push(chain, 0);
      return true;
    });
    assert.equal(memory.readU16(USED + 4 + SIZE * 8), 1); // avail_event
  });

  it("touches nothing after close()", () => {
    const { memory, queue, describe, publish, interrupts } = setup();
    describe(0, DATA, 1, WRITE);
    publish(0);
    const chain = queue.pop() as DescriptorChain;
    queue.close();
    queue.push(chain, 1);
    queue.signal();
    assert.equal(memory.readU16(USED + 2), 0);
    assert.equal(interrupts(), 0);
  });

  type Setup = ReturnType<typeof setup>;
  const hostile: readonly (readonly [why: string, lie: (s: Setup) => void])[] = [
    ["an available index that jumps", ({ memory }) => memory.storeU16(AVAILABLE + 2, SIZE + 1)],
    ["an available index that goes back", ({ memory }) => memory.storeU16(AVAILABLE + 2, 0xffff)],
    ["a head outside the table", ({ publish }) => publish(SIZE)],
    [
      "a next outside the table",
      ({ describe, publish }) => {
        describe(0, DATA, 1, NEXT, SIZE);
        publish(0);
      },
    ],
    [
      "a chain that loops",
      ({ describe, publish }) => {
        describe(0, DATA, 1, NEXT, 1);
        describe(1, DATA, 1, NEXT, 0);
        publish(0);
      },
    ],
    [
      "a buffer behind RAM",
      ({ describe, publish }) => {
        describe(0, 0xffff, 2);
        publish(0);
      },
    ],
    [
      "a buffer at a device",
      ({ describe, publish }) => {
        describe(0, 0xd000_0000, 4);
        publish(0);
      },
    ],
    [
      "a buffer whose end wraps at 2^64",
      ({ memory, publish }) => {
        memory.writeU64(TABLE, 0xffff_ffff_ffff_fff0n);
        memory.writeU32(TABLE + 8, 0x20);
        publish(0);
      },
    ],
    [
      "a buffer of 4 GiB - 1",
      ({ describe, publish }) => {
        describe(0, DATA, 0xffff_ffff);
        publish(0);
      },
    ],
    [
      "readable behind writable",
      ({ describe, publish }) => {
        describe(0, DATA, 1, NEXT | WRITE, 1);
        describe(1, DATA, 1);
        publish(0);
      },
    ],
    [
      "an indirect table of odd size",
      ({ describe, publish }) => {
        describe(0, 0x4000, 17, INDIRECT);
        publish(0);
      },
    ],
    [
      "an empty indirect table",
      ({ describe, publish }) => {
        describe(0, 0x4000, 0, INDIRECT);
        publish(0);
      },
    ],
    [
      "an indirect table outside RAM",
      ({ describe, publish }) => {
        describe(0, 0xfff8, 16, INDIRECT);
        publish(0);
      },
    ],
    [
      "a nested indirect table",
      ({ describe, publish }) => {
        describe(0, 0x4000, 16, INDIRECT);
        describe(0, 0x5000, 16, INDIRECT, 0, 0x4000);
        publish(0);
      },
    ],
    [
      "INDIRECT together with NEXT",
      ({ describe, publish }) => {
        describe(0, 0x4000, 16, INDIRECT | NEXT, 1);
        publish(0);
      },
    ],
    [
      "an indirect chain longer than the queue",
      ({ describe, publish }) => {
        describe(0, 0x4000, 16 * 64, INDIRECT);
        for (let i = 0; i < 64; i++) describe(i, DATA, 1, i < 63 ? NEXT : 0, i + 1, 0x4000);
        publish(0);
      },
    ],
  ];
  for (const [why, lie] of hostile) {
    it(`refuses ${why}`, () => {
      const s = setup();
      lie(s);
      assert.throws(() => s.queue.pop(), QueueError);
    });
  }

  it("refuses a head that is still in flight", () => {
    const s = setup();
    s.describe(0, DATA, 1);
    s.publish(0);
    assert.ok(s.queue.pop());
    s.publish(0);
    assert.throws(() => s.queue.pop(), /not finished/);
  });

  it("refuses an indirect descriptor that was not negotiated", () => {
    const s = setup({ indirect: false });
    s.describe(0, 0x4000, 16, INDIRECT);
    s.publish(0);
    assert.throws(() => s.queue.pop(), /not negotiated/);
  });

  const layouts: readonly (readonly [why: string, change: object])[] = [
    ["a size that is no power of two", { size: 6 }],
    ["size zero", { size: 0 }],
    ["a size beyond 32768", { size: 65536 }],
    ["a misaligned table", { descriptors: TABLE + 8 }],
    ["a misaligned available ring", { available: AVAILABLE + 1 }],
    ["a misaligned used ring", { used: USED + 2 }],
    ["a used ring that leaves RAM", { used: 0x1_0000 - 0x40 }],
    ["rings at a device", { available: 0xd000_0000 }],
  ];
  for (const [why, change] of layouts) {
    it(`refuses ${why}`, () => {
      const memory = GuestMemory.over(new ArrayBuffer(0x1_0000), 0x1_0000);
      const good = {
        size: SIZE,
        descriptors: TABLE,
        available: AVAILABLE,
        used: USED,
        eventIdx: false,
        indirect: false,
        interrupt() {},
        again() {},
      };
      assert.throws(() => new Virtqueue(memory, { ...good, ...change }), QueueError);
    });
  }
});
