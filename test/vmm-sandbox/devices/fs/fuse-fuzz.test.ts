/**
 * A hostile FUSE client, structure-aware and from a seed: node ids and handles that exist, nearly
 * exist or never did, names that try to leave, sizes that lie. What must hold: the server throws
 * nothing, each reply is well-formed, and what lies outside of the exported directory stays as it is.
 */
import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as abi from "../../../../vmm-sandbox/devices/fs/abi.ts";
import { FuseServer } from "../../../../vmm-sandbox/devices/fs/server.ts";
import { Random } from "../virtio.fuzz.ts";

const seed = Number(process.env["FUZZ_SEED"] ?? 1);
const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 30);
const STEPS = 300;
const MAX_DESCRIPTORS = 600;
const names = [
  "a",
  "b",
  "c",
  "dir",
  "out",
  "loop",
  "..",
  ".",
  "",
  "../outside",
  "a/b",
  "/etc",
  "x".repeat(300),
];

class HostileClient {
  readonly #random: Random;
  readonly #server: FuseServer;
  readonly #nodes: number[] = [abi.ROOT_ID];
  readonly #handles: bigint[] = [];
  answered = 0;

  constructor(server: FuseServer, random: Random) {
    this.#server = server;
    this.#random = random;
  }

  step(): void {
    const opcodes = Object.values(abi.opcodes) as [number, ...number[]];
    const opcode = this.#random.chance(97) ? this.#random.pick(opcodes) : this.#random.below(80);
    const body = this.#body(opcode);
    const len = this.#random.chance(97)
      ? abi.in_header.sizeBytes + body.length
      : this.#random.below(200);
    const header = abi.in_header.encode({
      len,
      opcode,
      unique: 7,
      nodeid: this.#node(),
      uid: this.#random.pick([0, 1000, 0xffff_ffff]),
      gid: this.#random.pick([0, 1000, 0xffff_ffff]),
      pid: 1,
    });
    const whole = Buffer.concat([header, body]);
    const cut = this.#random.chance(97) ? whole.length : this.#random.below(whole.length);
    this.#check(opcode, this.#server.handle(whole.subarray(0, cut)));
  }

  #check(opcode: number, reply: Uint8Array | undefined): void {
    if (reply === undefined) return;
    const { len, error } = abi.out_header.decode(reply);
    assert.equal(len, reply.length);
    assert.ok(error <= 0 && error > -4096, `errno ${error}`);
    if (error !== 0) return;
    this.answered += 1;
    const view = new DataView(reply.buffer, reply.byteOffset + abi.out_header.sizeBytes);
    const entries: readonly number[] = [abi.opcodes.LOOKUP, abi.opcodes.MKDIR, abi.opcodes.CREATE];
    if (entries.includes(opcode)) this.#nodes.push(Number(view.getBigUint64(0, true)));
    if (opcode === abi.opcodes.OPEN || opcode === abi.opcodes.OPENDIR)
      this.#handles.push(view.getBigUint64(0, true));
    if (opcode === abi.opcodes.CREATE)
      this.#handles.push(view.getBigUint64(abi.entry_out.sizeBytes + abi.attr.sizeBytes, true));
  }

  #node(): number | bigint {
    if (this.#random.chance(3)) return 2n ** BigInt(this.#random.below(64));
    const at = this.#random.below(Math.min(this.#nodes.length, 1000));
    return this.#nodes[at] ?? abi.ROOT_ID;
  }

  #handle(): bigint {
    if (this.#random.chance(5))
      return BigInt(this.#random.below(50)) << BigInt(this.#random.below(50));
    return this.#handles[this.#random.below(Math.max(1, this.#handles.length))] ?? 0n;
  }

  /** Mostly what belongs there, sometimes a number of any size. */
  #number(usual: number): bigint {
    return this.#random.chance(92)
      ? BigInt(this.#random.below(usual))
      : 2n ** BigInt(this.#random.below(64)) - BigInt(this.#random.below(2));
  }

  #names(count: number): Uint8Array {
    const parts = Array.from(
      { length: count },
      () => names[this.#random.below(names.length)] ?? "",
    );
    return Buffer.from(parts.map((name) => `${name}\0`).join(""));
  }

  #body(opcode: number): Uint8Array {
    const [fh, offset, size] = [this.#handle(), this.#number(9000), this.#number(9000)];
    const narrow = Number(size & 0xffff_ffffn);
    const mode = this.#random.pick([0o644, 0o755, 0o4777, 0o100600, 0o20666, 0xffff_ffff]);
    const flags = this.#random.pick([0, 1, 2, 0o1000, 0o2001, 0o200000, 0x7fff_ffff]);
    const { opcodes } = abi;
    switch (opcode) {
      case opcodes.SETATTR:
        return abi.setattr_in.encode({
          valid: this.#random.below(512),
          fh,
          size: this.#number(100_000),
          mode,
          uid: this.#random.pick([0, 1, 0xffff_ffff]),
          atime: this.#number(2 ** 31),
          mtimensec: this.#random.below(2 ** 31),
        });
      case opcodes.SYMLINK:
        return this.#names(2);
      case opcodes.MKNOD:
        return Buffer.concat([abi.mknod_in.encode({ mode, rdev: 259 }), this.#names(1)]);
      case opcodes.MKDIR:
        return Buffer.concat([abi.mkdir_in.encode({ mode }), this.#names(1)]);
      case opcodes.RENAME:
        return Buffer.concat([abi.rename_in.encode({ newdir: this.#node() }), this.#names(2)]);
      case opcodes.RENAME2:
        return Buffer.concat([
          abi.rename2_in.encode({ newdir: this.#node(), flags: this.#random.below(8) }),
          this.#names(2),
        ]);
      case opcodes.LINK:
        return Buffer.concat([abi.link_in.encode({ oldnodeid: this.#node() }), this.#names(1)]);
      case opcodes.OPEN:
      case opcodes.OPENDIR:
        return abi.open_in.encode({ flags });
      case opcodes.CREATE:
        return Buffer.concat([abi.create_in.encode({ flags, mode }), this.#names(1)]);
      case opcodes.READ:
      case opcodes.READDIR:
      case opcodes.READDIRPLUS:
        return abi.read_in.encode({ fh, offset, size: narrow });
      case opcodes.WRITE:
        return Buffer.concat([
          abi.write_in.encode({ fh, offset, size: narrow }),
          new Uint8Array(this.#random.below(5000)),
        ]);
      case opcodes.SETXATTR:
        return Buffer.concat([
          abi.setxattr_in.encode({ size: narrow, flags: this.#random.below(4) }),
          Buffer.from("user.x\0value"),
        ]);
      case opcodes.GETXATTR:
      case opcodes.LISTXATTR:
        return Buffer.concat([abi.getxattr_in.encode({ size: narrow }), Buffer.from("user.x\0")]);
      case opcodes.FALLOCATE:
        // A length that is valid is allocated: keep the disk of whoever runs this.
        return abi.fallocate_in.encode({
          fh,
          offset,
          length: this.#random.below(20_000),
          mode: this.#random.pick([0, 1, 3, 16, 0xff]),
        });
      case opcodes.LSEEK:
        return abi.lseek_in.encode({ fh, offset, whence: this.#random.below(6) });
      case opcodes.COPY_FILE_RANGE:
        return abi.copy_file_range_in.encode({
          fh_in: fh,
          off_in: offset,
          nodeid_out: this.#node(),
          fh_out: this.#handle(),
          off_out: this.#number(9000),
          len: size,
        });
      case opcodes.FORGET:
        return abi.forget_in.encode({ nlookup: this.#number(3) });
      case opcodes.BATCH_FORGET:
        return Buffer.concat([
          abi.batch_forget_in.encode({ count: narrow }),
          abi.forget_one.encode({ nodeid: this.#node(), nlookup: this.#number(3) }),
        ]);
      case opcodes.RELEASE:
      case opcodes.RELEASEDIR:
        return abi.release_in.encode({ fh });
      case opcodes.FSYNC:
      case opcodes.FSYNCDIR:
        return abi.fsync_in.encode({ fh, fsync_flags: this.#random.below(2) });
      case opcodes.INIT:
        return abi.init_in.encode({ major: 7, minor: narrow, flags: 0xffff_ffff });
      default:
        return this.#names(this.#random.below(3));
    }
  }
}

/** What a change from outside would show; reading it changes atime alone. */
function look(path: string): object {
  const { ino, mode, nlink, uid, gid, size, mtimeMs, ctimeMs } = statSync(path);
  return { ino, mode, nlink, uid, gid, size, mtimeMs, ctimeMs };
}

describe(`a FUSE server against a hostile client (seed ${seed})`, function () {
  this.timeout(Math.max(60_000, rounds * 2000));

  it("throws nothing and touches nothing outside of its directory (fuzz)", () => {
    let answered = 0;
    for (let round = 0; round < rounds; round++) {
      const folder = mkdtempSync(join(tmpdir(), "fuse-fuzz-"));
      const [inside, outside] = [join(folder, "inside"), join(folder, "outside")];
      for (const path of [inside, outside, join(inside, "dir")]) mkdirSync(path);
      writeFileSync(join(inside, "a"), "content");
      writeFileSync(join(outside, "secret"), "nobody's business");
      symlinkSync("../outside", join(inside, "out"));
      symlinkSync("loop", join(inside, "loop"));
      const before = look(outside);
      const server = new FuseServer({ path: inside, readOnly: round % 4 === 3 });
      const client = new HostileClient(server, new Random(seed * 1_000_003 + round));
      for (let step = 0; step < STEPS; step++) {
        try {
          client.step();
        } catch (error) {
          throw new Error(`round ${round}, step ${step}`, { cause: error });
        }
      }
      assert.ok(server.openDescriptors < MAX_DESCRIPTORS, `${server.openDescriptors} descriptors`);
      server[Symbol.dispose]();
      answered += client.answered;
      assert.deepEqual(readdirSync(folder).sort(), ["inside", "outside"]);
      assert.deepEqual(readdirSync(outside), ["secret"]);
      assert.equal(readFileSync(join(outside, "secret"), "utf8"), "nobody's business");
      assert.deepEqual(look(outside), before);
      rmSync(folder, { recursive: true });
    }
    assert.ok(answered > rounds * 10, `${answered} requests got through in ${rounds} rounds`);
  });
});
