/** Short in CI; `npm run fuzz -- vmm-sandbox` runs it for longer. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as abi from "../../../vmm-sandbox/devices/fs/abi.ts";
import { VirtioFs } from "../../../vmm-sandbox/devices/fs/virtio-fs.ts";
import {
  Balloon,
  Block,
  type BlockBackend,
  Console,
  Entropy,
  Net,
  type NetBackend,
  Vsock,
} from "../../../vmm-sandbox/devices/index.ts";
import { encodeHeader } from "../../../vmm-sandbox/devices/vsock-packet.ts";
import { type Forge, HostileDriver, type Random, type Subject } from "./virtio.fuzz.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? 1);
const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 40);
const STEPS = 300;

function memoryDisk(sizeBytes: number): BlockBackend {
  const disk = new Uint8Array(sizeBytes);
  const check = (position: number, length: number) => {
    if (position < 0 || position + length > sizeBytes)
      throw new Error(`out of the disk: ${position}+${length}`);
  };
  return {
    sizeBytes,
    readOnly: false,
    read(position, buffers) {
      let at = position;
      for (const buffer of buffers) {
        check(at, buffer.length);
        buffer.set(disk.subarray(at, at + buffer.length));
        at += buffer.length;
      }
    },
    write(position, buffers) {
      let at = position;
      for (const buffer of buffers) {
        check(at, buffer.length);
        disk.set(buffer, at);
        at += buffer.length;
      }
    },
    flush() {},
    zero(position, length) {
      check(position, length);
      disk.fill(0, position, position + length);
    },
  };
}

const forgeBlock: Forge = (bytes, random) => {
  if (bytes.length < 16) return;
  const view = new DataView(bytes.buffer);
  view.setUint32(0, random.pick([0, 1, 4, 8, 11, 13, random.below(20)]), true);
  view.setBigUint64(
    8,
    random.chance(90) ? BigInt(random.below(140)) : 2n ** BigInt(random.below(64)),
    true,
  );
};

const forgeVsock: Forge = (bytes, random: Random) => {
  if (bytes.length < 44) return;
  bytes.set(
    encodeHeader({
      srcCid: random.chance(98) ? 3n : BigInt(random.below(10)),
      dstCid: random.chance(98) ? 2n : BigInt(random.below(10)),
      srcPort: random.below(3),
      dstPort: random.below(3),
      length: random.pick([0, 1, 16, 4096, random.below(70_000)]),
      type: random.chance(98) ? 1 : 2,
      operation: random.below(9),
      flags: random.below(4),
      bufAlloc: random.pick([0, 65536, 0xffff_ffff]),
      fwdCnt: random.pick([0, random.below(100_000), 0xffff_ffff]),
    }),
  );
};

const LONGEST_NAME = 6;
const forgeFuse: Forge = (bytes, random) => {
  if (bytes.length < abi.in_header.sizeBytes + LONGEST_NAME) return;
  const opcodes = Object.values(abi.opcodes) as [number, ...number[]];
  bytes.set(
    abi.in_header.encode({
      len: random.chance(80) ? bytes.length : random.below(9000),
      opcode: random.chance(60) ? abi.opcodes.LOOKUP : random.pick(opcodes),
      unique: random.below(2 ** 31),
      nodeid: random.pick([1, 1, 1, 2, random.below(2 ** 31)]),
    }),
  );
  const name = random.pick(["a\0", "dir\0", "..\0", "none\0", "no end"]);
  bytes.set(Buffer.from(name), abi.in_header.sizeBytes);
};

/** Read-only: what a request may change is fs/fuse-fuzz.test.ts's matter. */
const folder = mkdtempSync(join(tmpdir(), "virtio-fs-fuzz-"));
/** Of one round: each holds a descriptor. */
const opened: VirtioFs[] = [];

const subjects: Readonly<Record<string, Subject>> = {
  entropy: { make: () => new Entropy(), forge: () => {} },
  console: {
    make: () => {
      const device = new Console(() => {});
      device.input(new Uint8Array(3000));
      return device;
    },
    forge: (bytes, random) => void bytes.fill(random.below(256)),
  },
  block: { make: () => new Block(memoryDisk(64 * 1024), "fuzz"), forge: forgeBlock },
  net: {
    make: () => {
      const backend: NetBackend = {
        // Everything comes back.
        send: (frame) => backend.onFrame?.(frame),
        onFrame: undefined,
      };
      return new Net(backend, { mac: Uint8Array.of(2, 0, 0, 0, 0, 1) });
    },
    forge: (bytes, random) => void bytes.fill(random.below(256)),
  },
  balloon: {
    make: () => new Balloon(() => {}),
    forge: (bytes, random) => {
      const view = new DataView(bytes.buffer);
      for (let at = 0; at + 4 <= bytes.length; at += 4) view.setUint32(at, random.below(100), true);
    },
  },
  fs: {
    make: () => {
      const device = new VirtioFs("fuzz", { path: folder, readOnly: true });
      opened.push(device);
      return device;
    },
    forge: forgeFuse,
  },
  vsock: {
    make: () => {
      const device = new Vsock(3);
      device.listen(1, (connection) => {
        // A host that answers: bytes both ways, then it hangs up.
        connection.readable.pipeTo(connection.writable).catch(() => undefined);
      });
      device.connect(2).catch(() => undefined);
      return device;
    },
    forge: forgeVsock,
  },
};

describe(`virtio devices against a hostile driver (seed ${seed})`, function () {
  this.timeout(Math.max(60_000, rounds * 1000));

  before(() => {
    writeFileSync(join(folder, "a"), "content");
    mkdirSync(join(folder, "dir"));
  });
  after(() => rmSync(folder, { recursive: true }));

  for (const [name, subject] of Object.entries(subjects)) {
    it(`${name} throws nothing and writes only where it may (fuzz)`, async () => {
      let served = 0;
      for (let round = 0; round < rounds; round++) {
        const driver = new HostileDriver(subject, seed * 1_000_003 + round);
        for (let step = 0; step < STEPS; step++) {
          try {
            driver.step();
          } catch (error) {
            throw new Error(`round ${round}, step ${step}`, { cause: error });
          }
          // Streams of the host side move in microtasks.
          if (step % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        served += driver.served;
        for (const device of opened.splice(0)) device[Symbol.dispose]();
      }
      assert.ok(served > rounds, `${served} requests got through in ${rounds} rounds`);
    });
  }
});
