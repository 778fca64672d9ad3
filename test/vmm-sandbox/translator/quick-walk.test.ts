/** The page walk in WebAssembly against the one in TypeScript, which says what is right. */
import assert from "node:assert/strict";
import { access, Paging } from "../../../vmm-sandbox/translator/mmu/paging.ts";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import { CoreInstance } from "../../../vmm-sandbox/translator/system/core-instance.ts";
import { createCpuMemory } from "../../../vmm-sandbox/translator/system/cpu-memory.ts";

const ramBytes = 16 << 20;
/** core-functions.ts: where the walk lies in every CPU's table. */
const walkSlot = 31;
const tables = 64;
const [present, rights, large, noExecute] = [1n, 6n, 0x80n, 1n << 63n] as const;

/** xorshift32: the same cases each time. */
function randomNumbers(seed: number): (limit: number) => number {
  let word = seed;
  return (limit) => {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    return (word >>> 0) % limit;
  };
}

function start() {
  const memory = createCpuMemory(ramBytes);
  const never = (): never => {
    throw new Error("Cannot call the host here");
  };
  const host = { slowHost: never, commit: never, raise: never, helper: never, validate: never };
  const core = new CoreInstance(memory, host);
  // SAFE: core-functions.ts gives this slot this type.
  const walk = core.table.get(walkSlot) as (address: bigint, asked: number) => number;
  const entries = new BigUint64Array(memory.buffer, layout.ram, (tables + 1) * 512);
  const quads = new BigUint64Array(memory.buffer, layout.state, 64);
  const words = new Int32Array(memory.buffer);
  quads[state.cr0 / 8] = 0x8001_0033n;
  quads[state.efer / 8] = 0xd01n;
  quads[state.cr4 / 8] = 0x620n;
  quads[state.cr3 / 8] = 0x1000n;
  words[(layout.state + state.tlb) >> 2] = layout.kernelTlb;
  const paging = new Paging(memory, ramBytes);
  return { walk, entries, paging, words };
}

/** An entry of a page table: mostly usual, and now and then anything. */
function entryOf(random: (limit: number) => number): bigint {
  const odd = (times: number): boolean => random(times) === 0;
  const frame = BigInt(odd(40) ? random(0x1_0000) : 1 + random(tables)) << 12n;
  let entry = frame | (odd(30) ? 0n : present) | (odd(6) ? BigInt(random(8)) & rights : rights);
  if (odd(2)) entry |= 0x20n;
  if (odd(2)) entry |= 0x40n;
  if (odd(8)) entry |= large;
  if (odd(3)) entry |= 0x100n;
  if (odd(12)) entry |= noExecute;
  if (odd(100)) entry |= 1n << BigInt(40 + random(12));
  return entry;
}

describe("the page walk in WebAssembly", () => {
  it("finds the same pages and sets the same bits as the one in TypeScript", () => {
    const random = randomNumbers(1);
    const { walk, entries, paging, words } = start();
    let quick = 0;
    for (let round = 0; round < 100; round++) {
      for (let i = 512; i < entries.length; i++) entries[i] = entryOf(random);
      for (let turn = 0; turn < 50; turn++) {
        const low = random(0x1_0000_0000) | 0;
        const high = random(20) === 0 ? random(0x1_0000_0000) | 0 : (random(0x1_0000) << 16) >> 16;
        const isUser = random(2) === 1;
        const kind = random(3);
        words[(layout.state + state.tlb) >> 2] = isUser ? layout.userTlb : layout.kernelTlb;
        const before = entries.slice();
        const address = (BigInt(high) << 32n) | BigInt(low >>> 0);
        const result = walk(BigInt.asIntN(64, address), kind);
        const after = entries.slice();
        if (result >= 0) entries.set(before);
        const top = high >> 15;
        const isCanonical = top === 0 || top === -1;
        const found = isCanonical && paging.walk(low, high, kind, isUser);
        const what = `${address.toString(16)} ${Object.keys(access)[kind]} ${isUser}`;
        const isRam = found && paging.hostOf(paging.physicalPage) >= 0;
        assert.equal(result >= 0, isRam, what);
        if (result < 0) continue;
        quick++;
        assert.equal((result & 0xff_ffff) * 4096, paging.physicalPage, what);
        assert.equal((result >> 25) & 1, paging.pageIsGlobal ? 1 : 0, what);
        assert.deepEqual(after, entries, `bits set on the way to ${what}`);
      }
    }
    assert.ok(quick > 1000, `enough of the walks lead somewhere: ${quick}`);
  });

  for (const [why, cr0, efer] of [
    ["supervisors may write anywhere", 0x8000_0033n, 0xd01n],
    ["there is no no-execute bit", 0x8001_0033n, 0x501n],
    ["paging is off", 0x33n, 0x801n],
  ] as const)
    it(`is TypeScript's when ${why}`, () => {
      const { walk, entries, paging, words } = start();
      for (const [at, next] of [[0x1000, 0x2003n] as const, [0x2000, 0x83n] as const])
        entries[at / 8] = next;
      assert.equal(walk(0x1234n, 0) & 0xff_ffff, 1);
      const quads = new BigUint64Array(words.buffer, layout.state, 64);
      quads[state.cr0 / 8] = cr0;
      quads[state.efer / 8] = efer;
      paging.flushAll();
      assert.equal(walk(0x1234n, 0), -1);
    });
});
