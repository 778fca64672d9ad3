/** The register stack, tags, condition codes and pending exceptions of x87. */

import { state } from "../state.ts";
import type { Cpu } from "../system/cpu.ts";
import { GuestFault, vector } from "../system/fault.ts";
import * as f from "./float80.ts";

export const condition = { c0: 0x100, c1: 0x200, c2: 0x400, c3: 0x4000 } as const;

const stackFault = 0x41; // SF and IE

export class Fpu {
  readonly cpu: Cpu;
  readonly context: f.Context;
  constructor(cpu: Cpu) {
    this.cpu = cpu;
    const control = cpu.registers.get32(state.fcw);
    const precision = [24, 64, 53, 64][(control >> 8) & 3] as number;
    this.context = new f.Context((control >> 10) & 3, precision);
  }

  get top(): number {
    return this.cpu.registers.get32(state.ftop);
  }
  set top(value: number) {
    this.cpu.registers.set32(state.ftop, value & 7);
  }
  private physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return !((this.cpu.registers.get32(state.ftags) >> this.physical(i)) & 1);
  }
  free(i: number): void {
    const tags = this.cpu.registers.get32(state.ftags);
    this.cpu.registers.set32(state.ftags, tags & ~(1 << this.physical(i)));
  }
  raw(i: number): f.Float80 {
    const at = state.st + this.physical(i) * 16;
    const high = this.cpu.registers.get32(at + 8) & 0xffff;
    return { sign: high >> 15, exponent: high & 0x7fff, mantissa: this.cpu.registers.get64(at) };
  }
  /** ST(i); an empty register is a stack underflow and reads as the default NaN. */
  get(i: number): f.Float80 {
    if (!this.isEmpty(i)) return this.raw(i);
    this.underflow();
    return f.indefinite;
  }
  underflow(): void {
    this.status(stackFault);
    this.clear(condition.c1);
  }
  set(i: number, value: f.Float80): void {
    const at = state.st + this.physical(i) * 16;
    this.cpu.registers.set64(at, value.mantissa);
    this.cpu.registers.set64(at + 8, BigInt((value.sign << 15) | value.exponent));
    const tags = this.cpu.registers.get32(state.ftags);
    this.cpu.registers.set32(state.ftags, tags | (1 << this.physical(i)));
  }
  push(value: f.Float80): void {
    this.top = this.top - 1;
    if (this.isEmpty(0)) this.set(0, value);
    else {
      this.status(stackFault | condition.c1);
      this.set(0, f.indefinite);
    }
  }
  pop(): void {
    this.free(0);
    this.top = this.top + 1;
  }
  status(bits: number): void {
    this.cpu.registers.set32(state.fsw, this.cpu.registers.get32(state.fsw) | bits);
  }
  clear(bits: number): void {
    this.cpu.registers.set32(state.fsw, this.cpu.registers.get32(state.fsw) & ~bits);
  }
  /** Ends an arithmetic instruction: its exceptions, C1, and the summary of unmasked ones. */
  finish(): void {
    const { context } = this;
    if (!(this.cpu.registers.get32(state.fsw) & 0x40 && context.flags === 0)) {
      this.clear(condition.c1);
      if (context.roundedUp && context.flags & f.exception.precision) this.status(condition.c1);
    }
    this.status(context.flags);
    this.summarize();
  }
  summarize(): void {
    const unmasked =
      this.cpu.registers.get32(state.fsw) & ~this.cpu.registers.get32(state.fcw) & 0x3f;
    if (unmasked) this.status(0x8080);
    else this.clear(0x8080);
  }
}

/** A waiting instruction with an unmasked exception pending is #MF. */
export function checkPending(cpu: Cpu): void {
  if (cpu.registers.get32(state.fsw) & 0x80) throw new GuestFault(vector.mathFault);
}
