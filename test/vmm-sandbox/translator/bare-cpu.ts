/**
 * The software CPU with nothing around it: pages mapped where a test wants them, flat segments, no
 * operating system. Code runs as Linux's users do, with their selectors, to a HLT.
 */
import { GuestMemory } from "../../../vmm-sandbox/machine/guest-memory.ts";
import { Machine } from "../../../vmm-sandbox/machine/machine.ts";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import { Cpu } from "../../../vmm-sandbox/translator/system/cpu.ts";
import { createCpuMemory } from "../../../vmm-sandbox/translator/system/cpu-memory.ts";
import { segmentIndex } from "../../../vmm-sandbox/translator/system/registers.ts";
import {
  flatCode32,
  flatCode64,
  flatData,
} from "../../../vmm-sandbox/translator/system/system-calls.ts";

const pml4 = 0x1000;
/** Where GDT and LDT, one table, lie in virtual memory. */
const tables = 0xfff0_0000;
/** As Linux has them: 0x23 and 0x33 code of 32 and 64 bits, 0x2b (and 0x17 of the LDT) data. */
const descriptors = [
  0n,
  0n,
  0x00cf_f300_0000_ffffn,
  0n,
  0x00cf_fb00_0000_ffffn,
  0x00cf_f300_0000_ffffn,
  0x00af_fb00_0000_ffffn,
] as const;

export class BareCpu {
  readonly cpu: Cpu;
  readonly ram: Uint8Array;
  private readonly entries: BigUint64Array;
  private next = 0;

  constructor(options: { readonly ramBytes: number; readonly hotThreshold: number }) {
    const memory = createCpuMemory(options.ramBytes);
    const guest = GuestMemory.over(memory.buffer, options.ramBytes, layout.ram);
    const noLines = (): never => {
      throw new RangeError("Cannot use interrupt lines here");
    };
    this.cpu = new Cpu(memory, new Machine({ memory: guest, interrupts: { line: noLines } }));
    this.cpu.translator.hotThreshold = options.hotThreshold;
    this.ram = new Uint8Array(memory.buffer, layout.ram, options.ramBytes);
    this.entries = new BigUint64Array(memory.buffer, layout.ram, options.ramBytes / 8);
  }

  /** As after a reset into long mode, with empty page tables. */
  reset(codeSize: 64 | 32): void {
    const { cpu } = this;
    const { registers } = cpu;
    this.ram.fill(0, 0, this.next);
    this.next = pml4 + 4096;
    cpu.forgetTranslations();
    registers.bytes.fill(0, layout.state, layout.state + 0x400);
    registers.set64(state.cr3, BigInt(pml4));
    registers.set64(state.cr4, 0x1_0620n);
    registers.set64(state.efer, 0xd01n);
    registers.set64(state.cr0, 0x8005_0033n);
    registers.set32(state.mxcsr, 0x1f80);
    registers.set32(state.fcw, 0x37f);
    registers.rflags = 0x202;
    const [code, selector] = codeSize === 64 ? [flatCode64(3), 0x33] : [flatCode32(3), 0x23];
    for (let i = 0; i < 6; i++)
      registers.setSegment(i, i === 1 ? selector : 0x2b, i === 1 ? code : flatData(3));
    this.map(tables, 4096);
    const at = this.frameOf(tables / 4096);
    for (const [i, entry] of descriptors.entries()) this.entries[at / 8 + i] = entry;
    registers.gdt = { base: BigInt(tables), limit: descriptors.length * 8 - 1 };
    registers.idt = { base: 0n, limit: 0 };
    const local = { base: registers.gdt.base, limit: registers.gdt.limit, attributes: 0x82 };
    registers.setSegment(segmentIndex.ldtr, 0x38, local);
    cpu.setPrivilege(3);
    cpu.flushMapping(true);
  }

  private table(at: number, index: number): number {
    const known = this.entries[at / 8 + index] as bigint;
    if (known !== 0n) return Number(known & ~0xfffn);
    const made = this.next;
    this.next += 4096;
    this.entries[at / 8 + index] = BigInt(made) | 7n;
    return made;
  }

  /** Zeroed memory at a virtual address. */
  map(address: number, bytes: number): void {
    const first = Math.floor(address / 4096);
    const last = Math.floor((address + bytes - 1) / 4096);
    if (this.next + (last - first + 4) * 4096 > this.ram.length)
      throw new RangeError(`Cannot map ${bytes} bytes: the machine has ${this.ram.length}`);
    for (let page = first; page <= last; page++) this.frameOf(page);
  }

  private frameOf(page: number): number {
    let table = pml4;
    for (let level = 3; level >= 0; level--)
      table = this.table(table, Math.floor(page / 512 ** level) % 512);
    return table;
  }

  write(address: number, bytes: Uint8Array): void {
    for (const [i, byte] of bytes.entries()) {
      const at = address + i;
      this.ram[this.frameOf(Math.floor(at / 4096)) + (at % 4096)] = byte;
    }
  }

  /** Runs to a HLT; undefined, or what went wrong. */
  run(entry: number, limit: number): string | undefined {
    const { cpu } = this;
    cpu.registers.rip = BigInt(entry);
    // Translating costs fuel as well: at most some 200 for each instruction.
    let slices = Math.ceil(limit / 2_000);
    const fault = cpu.step(() => slices-- > 0);
    if (fault === 13 && this.atHalt()) return undefined;
    const at = `0x${(cpu.registers.rip - BigInt(entry)).toString(16)}`;
    return fault === -2 ? `runs for ever near +${at}` : `exception ${fault} at +${at}`;
  }

  /** Users may not halt: that is how they end here. */
  private atHalt(): boolean {
    const at = Number(this.cpu.registers.rip);
    return this.ram[this.frameOf(Math.floor(at / 4096)) + (at % 4096)] === 0xf4;
  }

  setGeneral(number: number, value: bigint): void {
    this.cpu.registers.setGpr(number, value);
  }
  general(number: number): bigint {
    return this.cpu.registers.gpr(number);
  }
  vector(number: number): bigint[] {
    return [0, 8].map((half) => this.cpu.registers.get64(state.xmm + number * 16 + half));
  }
  /** Physical x87 register, mantissa then sign and exponent. */
  mmx(number: number): bigint[] {
    return [0, 8].map((half) => this.cpu.registers.get64(state.st + number * 16 + half));
  }
}
