/** The software CPU with just enough set up to run single instructions at the oracle's addresses. */
import { GuestMemory } from "../../../vmm-sandbox/machine/guest-memory.ts";
import { Machine } from "../../../vmm-sandbox/machine/machine.ts";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import { Cpu } from "../../../vmm-sandbox/translator/system/cpu.ts";
import { createCpuMemory } from "../../../vmm-sandbox/translator/system/cpu-memory.ts";
import { mxcsrChanged } from "../../../vmm-sandbox/translator/system/soft-sse.ts";
import { flatCode64, flatData } from "../../../vmm-sandbox/translator/system/system-calls.ts";
import { addresses, instructionOffset, offsets } from "./host-cpu.ts";

const ramBytes = 16 << 20;
const physical = { code: 0x20_0000, data: 0x40_0000 } as const;

export class GuestCpu {
  readonly cpu: Cpu;
  readonly ram: Uint8Array;

  private readonly isUser: boolean;
  private end = 0n;

  /** `hotThreshold`: 1 compiles everything at once, 2³⁰ nothing ever. */
  constructor(hotThreshold = 2 ** 30, isUser = false) {
    this.isUser = isUser;
    const memory = createCpuMemory(ramBytes);
    const guest = GuestMemory.over(memory.buffer, ramBytes, layout.ram);
    const machine = new Machine({
      memory: guest,
      interrupts: {
        line: () => {
          throw new RangeError("Cannot use interrupt lines here");
        },
      },
    });
    this.cpu = new Cpu(memory, machine);
    this.cpu.translator.hotThreshold = hotThreshold;
    this.ram = new Uint8Array(memory.buffer, layout.ram, ramBytes);
    this.buildTables(memory.buffer);
    const { registers } = this.cpu;
    registers.set64(state.cr3, 0x1000n);
    registers.set64(state.cr4, 0x620n);
    registers.set64(state.efer, 0xd01n);
    registers.set64(state.cr0, 0x8005_0033n);
    const cpl = isUser ? 3 : 0;
    for (let i = 0; i < 6; i++)
      registers.setSegment(
        i,
        (i === 1 ? 0x10 : 0x18) | cpl,
        i === 1 ? flatCode64(cpl) : flatData(cpl),
      );
    registers.idt = { base: 0n, limit: 0 };
    this.cpu.setPrivilege(cpl);
  }

  private buildTables(buffer: ArrayBufferLike): void {
    const entries = new BigUint64Array(buffer, layout.ram, ramBytes / 8);
    entries[0x1000 / 8] = 0x2000n | 7n;
    entries[0x2000 / 8 + 1] = 0x3000n | 7n;
    entries[0x3000 / 8 + ((addresses.code >> 21) & 511)] = BigInt(physical.code) | 0x87n;
    // The data page, and two pages behind it one that may only be read (host-faults.ts).
    entries[0x3000 / 8 + ((addresses.data >> 21) & 511)] = 0x4000n | 7n;
    entries[0x4000 / 8] = BigInt(physical.data) | 7n;
    entries[0x4000 / 8 + 2] = BigInt(physical.data + 0x2000) | 5n;
  }

  /** Puts the instruction, then HLT, where the oracle has it. */
  load(instruction: Uint8Array): void {
    const at = physical.code + instructionOffset;
    this.ram.set(instruction, at);
    this.ram[at + instruction.length] = 0xf4;
    this.cpu.codeWritten(at, instruction.length + 1);
    this.end = BigInt(addresses.code + instructionOffset + instruction.length);
  }

  /** Runs it on one state (see host-cpu.ts), in place; returns the exception's vector or -1. */
  run(view: Uint8Array): number {
    const { registers } = this.cpu;
    const words = new DataView(view.buffer, view.byteOffset, view.byteLength);
    for (let i = 0; i < 16; i++) registers.setGpr(i, words.getBigUint64(i * 8, true));
    this.loadFpu(words);
    registers.bytes.set(view.subarray(offsets.xmm, offsets.xmm + 256), layout.state + state.xmm);
    const flags = words.getUint32(offsets.flags, true);
    registers.rflags = this.isUser ? flags : flags & ~0x200;
    this.ram.set(view.subarray(offsets.data, offsets.data + offsets.dataBytes), physical.data);
    this.ram.fill(0, physical.data + 0xfc0, physical.data + 0x1000); // as the host's loader does
    registers.rip = BigInt(addresses.code + instructionOffset);
    const fault = this.cpu.step();
    // A program cannot halt: that is how it ends here.
    const isEnd = this.isUser && fault === 13 && registers.rip === this.end;
    if (fault >= 0 && !isEnd && !this.isUser) return fault;
    for (let i = 0; i < 16; i++) words.setBigUint64(i * 8, registers.gpr(i), true);
    view.set(
      registers.bytes.subarray(layout.state + state.xmm, layout.state + state.xmm + 256),
      offsets.xmm,
    );
    this.storeFpu(words);
    words.setBigUint64(offsets.flags, BigInt(registers.rflags | 0x200), true);
    view.set(this.ram.subarray(physical.data, physical.data + offsets.dataBytes), offsets.data);
    return isEnd ? -1 : fault;
  }

  /** The x87 part of an FXSAVE image: FCW, FSW with TOP, tags, and ST(0) to ST(7). */
  private loadFpu(words: DataView): void {
    const { registers } = this.cpu;
    const at = offsets.fx;
    const status = words.getUint16(at + 2, true);
    const top = (status >> 11) & 7;
    registers.set32(state.fcw, words.getUint16(at, true));
    registers.set32(state.fsw, status & 0xc7ff);
    registers.set32(state.ftop, top);
    registers.set32(state.ftags, words.getUint8(at + 4));
    registers.set32(state.mxcsr, words.getUint32(at + 24, true));
    mxcsrChanged(this.cpu);
    for (let i = 0; i < 8; i++) {
      const to = state.st + ((top + i) & 7) * 16;
      registers.set64(to, words.getBigUint64(at + 32 + i * 16, true));
      registers.set64(to + 8, words.getBigUint64(at + 40 + i * 16, true) & 0xffffn);
    }
  }

  private storeFpu(words: DataView): void {
    const { registers } = this.cpu;
    const at = offsets.fx;
    const top = registers.get32(state.ftop);
    words.setUint16(at, registers.get32(state.fcw), true);
    words.setUint16(at + 2, (registers.get32(state.fsw) & 0xc7ff) | (top << 11), true);
    words.setUint8(at + 4, registers.get32(state.ftags));
    words.setUint32(at + 24, registers.get32(state.mxcsr), true);
    for (let i = 0; i < 8; i++) {
      const from = state.st + ((top + i) & 7) * 16;
      words.setBigUint64(at + 32 + i * 16, registers.get64(from), true);
      words.setBigUint64(at + 40 + i * 16, registers.get64(from + 8) & 0xffffn, true);
    }
  }
}
