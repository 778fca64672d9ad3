/**
 * The local APIC (SDM volume 3A §11): xAPIC registers in memory and the same as x2APIC MSRs.
 * One vCPU, so IPIs reach only ourselves.
 *
 * Time is the clock's nanoseconds; the timer counts at 1 GHz before its divider.
 */
import type { Clock } from "../../machine/clock.ts";

const register = {
  id: 0x20,
  version: 0x30,
  tpr: 0x80,
  ppr: 0xa0,
  eoi: 0xb0,
  ldr: 0xd0,
  dfr: 0xe0,
  svr: 0xf0,
  isr: 0x100,
  tmr: 0x180,
  irr: 0x200,
  esr: 0x280,
  icrLow: 0x300,
  icrHigh: 0x310,
  lvtTimer: 0x320,
  lvtError: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
  selfIpi: 0x3f0,
} as const;

const pageBytes = 1024;
const masked = 0x1_0000;
const deliveryMode = { fixed: 0, nmi: 4 } as const;
const timerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

export class LocalApic {
  private readonly registers = new Uint32Array(0x40);
  private readonly requested = new Uint32Array(8);
  private readonly inService = new Uint32Array(8);
  /** Clock time at which the timer fires; Infinity: not armed. */
  deadline = Number.POSITIVE_INFINITY;
  private armedAt = 0;
  tscDeadline = 0;
  /** A non-maskable interrupt waits. */
  nmi = false;
  private readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
    this.registers[register.version >> 4] = 0x0005_0014;
    this.registers[register.svr >> 4] = 0xff;
    this.registers[register.dfr >> 4] = 0xffff_ffff;
    for (let lvt = register.lvtTimer; lvt <= register.lvtError; lvt += 0x10)
      this.registers[lvt >> 4] = masked;
  }

  /** A fixed interrupt arrives. */
  request(vector: number): void {
    if (vector < 16) return;
    this.requested[vector >> 5] = (this.requested[vector >> 5] as number) | (1 << (vector & 31));
  }

  private get enabled(): boolean {
    return ((this.registers[register.svr >> 4] as number) & 0x100) !== 0;
  }

  get taskPriority(): number {
    return (this.registers[register.tpr >> 4] as number) >> 4;
  }
  set taskPriority(value: number) {
    this.registers[register.tpr >> 4] = (value & 15) << 4;
  }

  private processorPriority(): number {
    const serving = highest(this.inService);
    const tpr = this.registers[register.tpr >> 4] as number;
    return serving < 0 ? tpr : Math.max(serving & 0xf0, tpr);
  }

  /** The vector to deliver now, or -1. */
  pending(): number {
    const vector = highest(this.requested);
    if (vector < 0 || !this.enabled) return -1;
    return (vector & 0xf0) > (this.processorPriority() & 0xf0) ? vector : -1;
  }

  /** The CPU takes `vector`. */
  acknowledge(vector: number): void {
    const bit = 1 << (vector & 31);
    this.requested[vector >> 5] = (this.requested[vector >> 5] as number) & ~bit;
    this.inService[vector >> 5] = (this.inService[vector >> 5] as number) | bit;
  }

  private endOfInterrupt(): void {
    const vector = highest(this.inService);
    if (vector < 0) return;
    this.inService[vector >> 5] = (this.inService[vector >> 5] as number) & ~(1 << (vector & 31));
  }

  /** Fires the timer when its time has come. */
  tick(now: number): void {
    if (now < this.deadline) return;
    const lvt = this.registers[register.lvtTimer >> 4] as number;
    if (!(lvt & masked)) this.request(lvt & 0xff);
    if (this.mode() === timerMode.periodic) {
      const period = this.periodNs();
      // Missed periods are merged into one interrupt.
      this.armedAt += Math.max(1, Math.floor((now - this.armedAt) / period)) * period;
      this.deadline = this.armedAt + period;
      return;
    }
    this.deadline = Number.POSITIVE_INFINITY;
    this.tscDeadline = 0;
  }

  private mode(): number {
    return ((this.registers[register.lvtTimer >> 4] as number) >> 17) & 3;
  }

  private divider(): number {
    const value = this.registers[register.divide >> 4] as number;
    const power = ((value & 3) | ((value >> 1) & 4)) + 1;
    return power === 8 ? 1 : 1 << power;
  }

  private periodNs(): number {
    return Math.max(1, (this.registers[register.initialCount >> 4] as number) * this.divider());
  }

  setTscDeadline(tsc: number): void {
    if (this.mode() !== timerMode.tscDeadline) return;
    this.tscDeadline = tsc;
    this.deadline = tsc === 0 ? Number.POSITIVE_INFINITY : tsc;
  }

  read(offset: number): number {
    const bank = offset & 0x380;
    const word = (offset >> 4) & 7;
    if (bank === register.isr && offset < register.tmr) return this.inService[word] as number;
    if (bank === register.irr && offset < register.esr) return this.requested[word] as number;
    switch (offset) {
      case register.ppr:
        return this.processorPriority();
      case register.currentCount: {
        if (this.deadline === Number.POSITIVE_INFINITY || this.mode() === timerMode.tscDeadline)
          return 0;
        return Math.max(0, Math.floor((this.deadline - this.clock.now()) / this.divider()));
      }
      default:
        return this.registers[offset >> 4] ?? 0;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case register.eoi:
        this.endOfInterrupt();
        return;
      case register.id:
      case register.version:
      case register.ppr:
      case register.currentCount:
        return;
      case register.icrLow:
        this.registers[offset >> 4] = value & ~0x1000;
        this.sendIpi(value);
        return;
      case register.selfIpi:
        this.request(value & 0xff);
        return;
      case register.initialCount:
        this.registers[offset >> 4] = value;
        this.armedAt = this.clock.now();
        if (this.mode() !== timerMode.tscDeadline)
          this.deadline = value === 0 ? Number.POSITIVE_INFINITY : this.armedAt + this.periodNs();
        return;
      case register.lvtTimer: {
        const before = this.mode();
        this.registers[offset >> 4] = value;
        if (before !== this.mode()) this.deadline = Number.POSITIVE_INFINITY;
        return;
      }
      default:
        if (offset >> 4 < this.registers.length) this.registers[offset >> 4] = value;
    }
  }

  /** Fixed interrupts and NMIs to ourselves; INIT and SIPI have nobody to start. */
  private sendIpi(low: number): void {
    const mode = (low >> 8) & 7;
    if (mode !== deliveryMode.fixed && mode !== deliveryMode.nmi) return;
    const shorthand = (low >> 18) & 3;
    const destination = (this.registers[register.icrHigh >> 4] as number) >>> 24;
    const toSelf = shorthand === 1 || shorthand === 2 || (shorthand === 0 && destination === 0);
    const logical = (low & 0x800) !== 0 && (destination & 1) !== 0;
    if (!toSelf && !(shorthand === 0 && logical)) return;
    if (mode === deliveryMode.nmi) this.nmi = true;
    else this.request(low & 0xff);
  }

  /** The first KiB of its page, with what is left of the timer's count. */
  save(): Uint8Array {
    const page = new Uint8Array(pageBytes);
    const view = new DataView(page.buffer);
    for (let at = 0; at < pageBytes; at += 16) view.setUint32(at, this.read(at), true);
    return page;
  }

  /** The TSC deadline is not in the page: its MSR is restored after. */
  restore(page: Uint8Array): void {
    if (page.length < pageBytes)
      throw new RangeError(`Cannot restore ${page.length} bytes of APIC: expected ${pageBytes}`);
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const word = (offset: number): number => view.getUint32(offset, true);
    for (let i = 0; i < this.registers.length; i++) this.registers[i] = word(i * 16);
    for (let i = 0; i < 8; i++) {
      this.inService[i] = word(register.isr + i * 16);
      this.requested[i] = word(register.irr + i * 16);
    }
    const left = word(register.currentCount) * this.divider();
    const now = this.clock.now();
    this.deadline = left === 0 ? Number.POSITIVE_INFINITY : now + left;
    this.armedAt = now + left - this.periodNs();
    this.tscDeadline = 0;
  }

  /** x2APIC's ICR is one 64-bit register. */
  writeIcr(low: number, high: number): void {
    this.registers[register.icrHigh >> 4] = (high & 0xff) << 24;
    this.write(register.icrLow, low);
  }
}

function highest(bits: Uint32Array): number {
  for (let i = 7; i >= 0; i--) {
    const word = bits[i] as number;
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return -1;
}
