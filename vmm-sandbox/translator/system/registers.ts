/**
 * The vCPU's registers as TypeScript sees them: views on `state`, plus what no emitted code needs
 * (descriptor caches, tables, MSRs that only store a value).
 *
 * 64-bit values are bigint here; nothing in this folder runs more often than a system call.
 */
import { layout, state } from "../state.ts";

/** Index of a segment register in encodings, `state.selectors` and `caches`. */
export const segmentIndex = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;

/** A descriptor's hidden part. SDM volume 3A §3.4.5. */
export type DescriptorCache = {
  base: bigint;
  limit: number;
  /** Bytes 5 and 6 of the descriptor, limit bits cleared: type, S, DPL, P · AVL, L, D/B, G. */
  attributes: number;
};

export const attribute = {
  s: 0x10,
  dplShift: 5,
  present: 0x80,
  long: 0x2000,
  big: 0x4000,
  granularity: 0x8000,
} as const;

export class Registers {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly quads: BigUint64Array;
  readonly caches: DescriptorCache[] = Array.from({ length: 8 }, () => ({
    base: 0n,
    limit: 0xffff,
    attributes: 0x93,
  }));
  gdt = { base: 0n, limit: 0xffff };
  idt = { base: 0n, limit: 0xffff };
  readonly debug = [0n, 0n, 0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n];
  /** Whether this value of DR7 enables any: single-step.ts. */
  readonly breakpoints = { control: 0x400n, on: false };
  cr8 = 0n;

  constructor(memory: WebAssembly.Memory) {
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.quads = new BigUint64Array(memory.buffer);
    this.set32(state.eflags, 2);
    this.set32(state.mxcsr, 0x1f80);
    this.set32(state.fcw, 0x37f);
  }

  get32(offset: number): number {
    return this.words[(layout.state + offset) >> 2] as number;
  }
  set32(offset: number, value: number): void {
    this.words[(layout.state + offset) >> 2] = value;
  }
  get64(offset: number): bigint {
    return this.quads[(layout.state + offset) >> 3] as bigint;
  }
  set64(offset: number, value: bigint): void {
    this.quads[(layout.state + offset) >> 3] = value;
  }

  gpr(number: number): bigint {
    return this.get64(state.gpr + number * 8);
  }
  setGpr(number: number, value: bigint): void {
    this.set64(state.gpr + number * 8, value);
  }
  gpr32(number: number): number {
    return this.get32(state.gpr + number * 8);
  }
  /** Zero-extended, as 32-bit results are. */
  setGpr32(number: number, value: number): void {
    this.set32(state.gpr + number * 8, value);
    this.set32(state.gpr + number * 8 + 4, 0);
  }
  /** Where in `words` a place of the state is. */
  indexOf(offset: number): number {
    return (layout.state + offset) >> 2;
  }
  /** Copies 64 bits from one place of the state to another. */
  copy64(to: number, from: number): void {
    this.set32(to, this.get32(from));
    this.set32(to + 4, this.get32(from + 4));
  }

  get rip(): bigint {
    return this.get64(state.rip);
  }
  set rip(value: bigint) {
    this.set64(state.rip, value);
  }
  get cpl(): number {
    return this.get32(state.cpl);
  }
  selector(segment: number): number {
    return this.get32(state.selectors + segment * 4);
  }

  /** Loads a segment register without checks. */
  setSegment(segment: number, selector: number, cache: DescriptorCache): void {
    this.set32(state.selectors + segment * 4, selector);
    this.caches[segment] = cache;
    if (segment >= 6) return;
    const base = state.segmentBase + segment * 8;
    if (cache.base !== 0n) this.set64(base, BigInt.asUintN(64, cache.base));
    else {
      this.set32(base, 0);
      this.set32(base + 4, 0);
    }
  }

  /** The descriptor cache, with the base as it is now: WRFSBASE and SWAPGS change it there. */
  segment(segment: number): DescriptorCache {
    const cache = this.caches[segment] as DescriptorCache;
    return segment < 6 ? { ...cache, base: this.get64(state.segmentBase + segment * 8) } : cache;
  }

  /** RFLAGS from the lazy words; see emit/flags.ts. */
  get rflags(): number {
    const low = this.get32(state.flagResult);
    const high = this.get32(state.flagResult + 4);
    const aux = this.get32(state.flagAux);
    let parity = (low ^ (aux >>> 8)) & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    const cf = aux >>> 31;
    const of = cf ^ ((aux >>> 30) & 1);
    const sf = (high >>> 31) ^ (aux & 1);
    return (
      this.get32(state.eflags) |
      2 |
      cf |
      ((parity & 1) ^ 1 ? 4 : 0) |
      ((aux & 8) << 1) |
      ((low | high) === 0 ? 0x40 : 0) |
      (sf << 7) |
      (of << 11)
    );
  }

  set rflags(value: number) {
    this.set32(state.eflags, (value & ~0x8d5 & 0x3f_7fff) | 2);
    const bit = (n: number): number => (value >>> n) & 1;
    this.set32(state.flagResult, bit(6) ^ 1);
    this.set32(state.flagResult + 4, 0);
    this.set32(
      state.flagAux,
      (bit(0) << 31) |
        ((bit(0) ^ bit(11)) << 30) |
        (bit(4) << 3) |
        ((bit(2) ^ bit(6)) << 8) |
        bit(7),
    );
  }
}
