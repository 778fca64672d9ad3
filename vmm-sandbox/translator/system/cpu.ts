/**
 * The software CPU: one vCPU, its run loop and everything emitted code asks TypeScript for.
 *
 * ```
 * run ─► deliver what is pending ─► look up RIP ─► enter WebAssembly ─┐
 *  ▲      exception, interrupt       run or new       tail calls       │
 *  └──────────── exit: fuel · lookup · fault · helper ◄────────────────┘
 *                   slow(), helper() are called from inside, without leaving
 * ```
 */
import type { Machine } from "../../machine/machine.ts";
import { accessKind } from "../emit/memory.ts";
import { buildCore } from "../interpreter/core.ts";
import { HandlerSet } from "../interpreter/forms.ts";
import { Translator } from "../interpreter/translate.ts";
import type { Instruction } from "../isa/decode.ts";
import { access, Paging } from "../mmu/paging.ts";
import { Jit } from "../region/jit.ts";
import { exitReason, jumpCacheEntries, layout, record, state } from "../state.ts";
import { fpuHelpers } from "../x87/fpu.ts";
import {
  combinesToDoubleFault,
  GuestFault,
  generalProtection,
  hasErrorCode,
  vector,
} from "./fault.ts";
import { fpuStateHelpers } from "./fpu-state.ts";
import { type Helper, helpers } from "./helpers.ts";
import { deliver, type InterruptKind } from "./interrupts.ts";
import { LocalApic } from "./local-apic.ts";
import { Msrs } from "./msr.ts";
import { attribute, Registers, segmentIndex } from "./registers.ts";
import { canonical } from "./segments.ts";
import { vectorHelpers } from "./vector-helpers.ts";

/** Instructions, roughly, between looks at the clock. */
const fuelSlice = 20_000;
const wasmPage = 65_536;
const staging = layout.scratch + 64;
const fetchTlbEntries = 1024;

export const allHelpers: Readonly<Record<string, Helper>> = {
  ...helpers,
  ...fpuStateHelpers,
  ...fpuHelpers,
  ...vectorHelpers,
};

export type CpuStatistics = {
  readonly exits: number[];
  slowAccesses: number;
  helpers: number;
  interrupts: number;
  jumpFlushes: number;
  readonly exceptions: number[];
  readonly unknownMsrs: Set<number>;
  readonly undefined: Map<string, number>;
  countUndefined(it: Instruction): void;
};

function newStatistics(): CpuStatistics {
  const undefinedForms = new Map<string, number>();
  return {
    exits: [0, 0, 0, 0, 0],
    slowAccesses: 0,
    helpers: 0,
    interrupts: 0,
    jumpFlushes: 0,
    exceptions: new Array(32).fill(0),
    unknownMsrs: new Set(),
    undefined: undefinedForms,
    countUndefined(it) {
      const hex = (n: number): string => n.toString(16).padStart(2, "0");
      const name = `${it.row.text} (opcode ${hex(it.opcode)} modrm ${hex(it.modRm)})`;
      undefinedForms.set(name, (undefinedForms.get(name) ?? 0) + 1);
    },
  };
}

/** WebAssembly memory big enough for the CPU's own tables and `ramBytes` of guest RAM. */
export function createCpuMemory(ramBytes: number): WebAssembly.Memory {
  const pages = Math.ceil((layout.ram + ramBytes) / wasmPage);
  if (pages > 65_536)
    throw new RangeError(
      `Cannot give a software CPU ${ramBytes} bytes of RAM: expected at most ${65_536 * wasmPage - layout.ram}`,
    );
  return new WebAssembly.Memory({ initial: pages, maximum: 65_536, shared: true });
}

let corePlans: HandlerSet | undefined;
let coreModule: { readonly module: WebAssembly.Module; readonly tableSize: number } | undefined;

/** The interpreter is the same for every CPU: compiled once in a process. */
function core() {
  corePlans ??= new HandlerSet();
  if (!coreModule) {
    const { bytes, tableSize } = buildCore(corePlans.plans, {
      initialPages: 1,
      maximumPages: 65_536,
      shared: true,
    });
    coreModule = { module: new WebAssembly.Module(bytes), tableSize };
  }
  return { set: corePlans, ...coreModule };
}

type Staged =
  | { readonly kind: "mmio"; readonly address: number; readonly bytes: number }
  | {
      readonly kind: "crossing";
      readonly first: number;
      readonly second: number;
      readonly firstBytes: number;
      readonly bytes: number;
    };

export class Cpu {
  readonly registers: Registers;
  readonly paging: Paging;
  readonly translator: Translator;
  readonly jit: Jit;
  readonly apic: LocalApic;
  readonly msrs: Msrs;
  readonly statistics = newStatistics();
  readonly machine: Machine;
  halted = false;
  /** RIP before which no interrupt is delivered: STI and MOV SS. */
  shadowUntil = -1n;
  private readonly enter: (record: number) => void;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private pending: GuestFault | undefined;
  private staged: Staged | undefined;
  private mode = 0;
  private tscOffset = 0;
  private tripleFault = false;
  /** Fetch TLB: virtual page (low, high), mode, physical page. */
  /** Virtual pages that the jump cache or the fetch TLB may know, as address / 4096. */
  private readonly knownCodePages = new Set<number>();
  private readonly fetchTlb = new Int32Array(fetchTlbEntries * 4).fill(-1);

  constructor(memory: WebAssembly.Memory, machine: Machine) {
    this.machine = machine;
    const { set, module, tableSize } = core();
    this.registers = new Registers(memory);
    this.words = this.registers.words;
    this.bytes = this.registers.bytes;
    this.paging = new Paging(memory, machine.memory.sizeBytes);
    this.translator = new Translator(memory, set, (page) => this.paging.protect(page));
    this.apic = new LocalApic(machine.clock);
    this.msrs = new Msrs(this);
    const table = new WebAssembly.Table({ element: "anyfunc", initial: tableSize });
    const commit = () => this.commit();
    const raise = (number: number, at: number) => this.fault(new GuestFault(number), at);
    const { exports } = new WebAssembly.Instance(module, {
      env: {
        memory,
        table,
        commit,
        raise,
        slow: (kind: number, at: number) => this.slow(kind, at),
        helper: (at: number) => this.helper(at),
      },
    });
    // SAFE: `core.ts` exports it with this type.
    this.enter = exports["enter"] as (record: number) => void;
    const imports = { commit, raise, slow: exports["slow"], jump: exports["jump"] };
    this.jit = new Jit(memory, table, this.translator, imports);
    machine.memory.onWrite = (address, size) => this.codeWritten(address, size);
    this.setPrivilege(0);
  }

  // ---- time -------------------------------------------------------------------------------------

  tsc(): bigint {
    return BigInt(Math.floor(this.machine.clock.now()) + this.tscOffset);
  }

  setTsc(value: bigint): void {
    this.tscOffset = Number(value) - Math.floor(this.machine.clock.now());
  }

  clockOfTsc(value: bigint): number {
    return value === 0n ? 0 : Math.max(1, Number(value) - this.tscOffset);
  }

  /** pvclock_vcpu_time_info: https://docs.kernel.org/virt/kvm/x86/msr.html. */
  writeSystemTime(address: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0) return;
    const view = new DataView(this.bytes.buffer, host, 32);
    view.setUint32(0, 2, true); // even: consistent
    view.setBigUint64(8, BigInt(this.tscOffset), true); // the TSC when the clock was 0
    view.setBigUint64(16, 0n, true);
    view.setUint32(24, 0x8000_0000, true); // × 2³¹ after << 1, >> 32: nanoseconds are TSC ticks
    view.setInt8(28, 1);
    view.setUint8(29, 1); // stable
  }

  writeWallClock(address: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0) return;
    const start = this.machine.clock.wallTime() - BigInt(Math.floor(this.machine.clock.now()));
    const view = new DataView(this.bytes.buffer, host, 12);
    view.setUint32(0, 2, true);
    view.setUint32(4, Number(start / 1_000_000_000n), true);
    view.setUint32(8, Number(start % 1_000_000_000n), true);
  }

  // ---- modes ------------------------------------------------------------------------------------

  get isLong(): boolean {
    return ((this.registers.caches[segmentIndex.cs]?.attributes ?? 0) & attribute.long) !== 0;
  }

  setPrivilege(cpl: number): void {
    const { registers } = this;
    registers.set32(state.cpl, cpl);
    registers.set32(state.tlb, cpl === 3 ? layout.userTlb : layout.kernelTlb);
    this.mode = cpl === 3 ? 1 : 0;
    // Canonical addresses repeat bit 47 upwards, so these bits tell modes apart.
    registers.set32(state.modeTag, 0);
    registers.set32(state.modeTag + 4, this.mode << 24);
  }

  setEfer(value: bigint): void {
    const { registers } = this;
    if (value & ~0xd01n) throw generalProtection();
    const active = registers.get64(state.efer) & 0x400n;
    registers.set64(state.efer, (value & ~0x400n) | active);
    this.flushMapping(true);
  }

  readControl(number: number): bigint {
    const { registers } = this;
    switch (number) {
      case 0:
        return registers.get64(state.cr0);
      case 2:
        return registers.get64(state.cr2);
      case 3:
        return registers.get64(state.cr3);
      case 4:
        return registers.get64(state.cr4);
      case 8:
        return BigInt(this.apic.taskPriority);
      default:
        throw new GuestFault(vector.invalidOpcode);
    }
  }

  writeControl(number: number, value: bigint): void {
    const { registers } = this;
    switch (number) {
      case 0: {
        const old = registers.get64(state.cr0);
        if ((value & 0x8000_0001n) === 0x8000_0000n) throw generalProtection();
        if (!(value & 0x8000_0000n) && this.isLong) throw generalProtection();
        registers.set64(state.cr0, value | 0x10n);
        if ((old ^ value) & 0x8001_0000n) this.flushMapping(true);
        return;
      }
      case 2:
        registers.set64(state.cr2, value);
        return;
      case 3:
        registers.set64(state.cr3, value & ~(1n << 63n));
        this.flushMapping(false);
        return;
      case 4: {
        // VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT
        if (value & ~0x7ffn || !(value & 0x20n)) throw generalProtection();
        const old = registers.get64(state.cr4);
        registers.set64(state.cr4, value);
        if ((old ^ value) & 0xb0n) this.flushMapping(true);
        return;
      }
      case 8:
        if (value & ~15n) throw generalProtection();
        this.apic.taskPriority = Number(value);
        return;
      default:
        throw new GuestFault(vector.invalidOpcode);
    }
  }

  /** Control registers were set from outside. */
  mappingChanged(): void {
    this.flushMapping(true);
  }

  private flushMapping(all: boolean): void {
    if (all) this.paging.flushAll();
    else this.paging.flushNonGlobal();
    this.flushJumps();
  }

  private flushJumps(): void {
    const first = layout.jumpCache >> 2;
    this.words.fill(-1, first, first + jumpCacheEntries * 4);
    this.fetchTlb.fill(-1);
    this.knownCodePages.clear();
    this.statistics.jumpFlushes++;
  }

  /** INVLPG; true when code may have moved. Most pages it names never held any. */
  invalidatePage(address: bigint): boolean {
    const low = Number(address & 0xffff_ffffn) | 0;
    const high = Number((address >> 32n) & 0xffff_ffffn) | 0;
    const all = this.paging.flushPage(low, high);
    const moved = all || this.knownCodePages.has(pageNumber(low, high));
    if (moved) this.flushJumps();
    return moved;
  }

  // ---- memory -----------------------------------------------------------------------------------

  /** The guest's store, DMA or a device wrote RAM: code there is no longer what it was. */
  codeWritten(address: number, size: number): void {
    let at = address;
    const end = address + size;
    while (at < end) {
      const page = Math.floor(at / 4096);
      const stop = Math.min(end, (page + 1) * 4096);
      if (this.translator.hasCode(page))
        this.translator.invalidate(page, at - page * 4096, stop - page * 4096);
      at = stop;
    }
  }

  /** Called by emitted code: a host address for an access the TLB did not allow, or 0. */
  private slow(kind: number, at: number): number {
    this.statistics.slowAccesses++;
    const low = this.words[(layout.state + state.slowAddress) >> 2] as number;
    const high = this.words[(layout.state + state.slowAddress + 4) >> 2] as number;
    this.retry = false;
    const result = this.resolve(low, high, kind, this.mode === 1, at < 0);
    if (result !== 0) return result;
    if (this.retry) {
      this.setRip(at, false);
      this.registers.set32(state.exit, exitReason.helper);
    } else this.fault(this.lastFault, at);
    return 0;
  }

  /** A store would have changed compiled code that may be running: the interpreter does it. */
  private retry = false;

  private lastFault = new GuestFault(vector.generalProtection);

  /** Host address of an access, staging it when it crosses pages or reaches a device; 0: fault. */
  private resolve(
    low: number,
    high: number,
    kind: number,
    isUser: boolean,
    isCompiled = false,
  ): number {
    const bytes = kind & 0xff;
    const write = (kind & accessKind.write) !== 0;
    const offset = low & 0xfff;
    if (offset + bytes > 4096) return this.resolveCrossing(low, high, bytes, write, isUser);
    const page = this.page(low, high, write ? access.write : access.read, isUser);
    if (page < 0) return 0;
    const host = this.paging.hostOf(page);
    if (host < 0) return this.stageDevice(page + offset, bytes, write);
    const number = page / 4096;
    if (write && this.translator.hasCode(number)) {
      const end = kind & accessKind.page ? 4096 : offset + bytes;
      if (this.translator.invalidate(number, offset, end) && isCompiled) {
        this.retry = true;
        return 0;
      }
    }
    this.paging.fill(low, high, isUser, !this.translator.hasCode(number));
    return host + offset;
  }

  /** Physical page of an address, or -1 with `lastFault` set. */
  private page(low: number, high: number, kind: number, isUser: boolean): number {
    const top = high >> 15;
    if (top !== 0 && top !== -1) {
      this.lastFault = generalProtection();
      return -1;
    }
    if (this.paging.walk(low, high, kind, isUser)) return this.paging.physicalPage;
    const address = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    this.lastFault = new GuestFault(vector.pageFault, this.paging.errorCode, address);
    return -1;
  }

  private resolveCrossing(
    low: number,
    high: number,
    bytes: number,
    write: boolean,
    isUser: boolean,
  ): number {
    const kind = write ? access.write : access.read;
    const first = this.page(low, high, kind, isUser);
    if (first < 0) return 0;
    const offset = low & 0xfff;
    const firstBytes = 4096 - offset;
    const nextLow = (low + firstBytes) | 0;
    const second = this.page(nextLow, nextLow === 0 ? (high + 1) | 0 : high, kind, isUser);
    if (second < 0) return 0;
    this.readPhysical(first + offset, firstBytes, staging);
    this.readPhysical(second, bytes - firstBytes, staging + firstBytes);
    if (write) this.staged = { kind: "crossing", first: first + offset, second, firstBytes, bytes };
    return staging;
  }

  /** Into memory at `to`; what is no RAM reads as all ones. */
  private readPhysical(address: number, bytes: number, to: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0) this.bytes.fill(0xff, to, to + bytes);
    else this.bytes.copyWithin(to, host, host + bytes);
  }

  private writePhysical(address: number, bytes: number, from: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0) return;
    this.codeWritten(address, bytes);
    this.bytes.copyWithin(host, from, from + bytes);
  }

  private stageDevice(address: number, bytes: number, write: boolean): number {
    if (write) {
      this.staged = { kind: "mmio", address, bytes };
      return staging;
    }
    const bus = this.machine.mmio;
    for (let at = 0; at < bytes; at += 4) {
      const size = Math.min(4, bytes - at) as 1 | 2 | 4;
      this.words[(staging + at) >> 2] = bus.read(address + at, size);
    }
    this.afterDevice();
    return staging;
  }

  private commit(): void {
    const staged = this.staged;
    this.staged = undefined;
    if (!staged) return;
    if (staged.kind === "crossing") {
      this.writePhysical(staged.first, staged.firstBytes, staging);
      this.writePhysical(
        staged.second,
        staged.bytes - staged.firstBytes,
        staging + staged.firstBytes,
      );
      return;
    }
    for (let at = 0; at < staged.bytes; at += 4) {
      const size = Math.min(4, staged.bytes - at) as 1 | 2 | 4;
      const word = this.words[(staging + at) >> 2] as number;
      const value = size === 4 ? word >>> 0 : word & (size === 2 ? 0xffff : 0xff);
      this.machine.mmio.write(staged.address + at, size, value);
    }
    this.afterDevice();
  }

  private access(address: bigint, bytes: number, write: boolean, isUser: boolean): number {
    const low = Number(address & 0xffff_ffffn) | 0;
    const high = Number((address >> 32n) & 0xffff_ffffn) | 0;
    const host = this.resolve(low, high, bytes | (write ? accessKind.write : 0), isUser);
    if (host === 0) throw this.lastFault;
    return host;
  }

  private load(host: number, bytes: number): bigint {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--)
      value = (value << 8n) | BigInt(this.bytes[host + i] as number);
    return value;
  }

  private store(host: number, bytes: number, value: bigint): void {
    let rest = value;
    for (let i = 0; i < bytes; i++) {
      this.bytes[host + i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    if (host < layout.scratchEnd) this.commit();
  }

  /** As the guest's instruction would: with its privilege. Throws GuestFault. */
  readData(address: bigint, bytes: number): bigint {
    return this.load(this.access(address, bytes, false, this.mode === 1), bytes);
  }
  writeData(address: bigint, bytes: number, value: bigint): void {
    this.store(this.access(address, bytes, true, this.mode === 1), bytes, value);
  }
  /** Descriptor tables, TSS and interrupt stacks: supervisor accesses at any CPL. */
  readSystem(address: bigint, bytes: number): bigint {
    return this.load(this.access(BigInt.asUintN(64, address), bytes, false, false), bytes);
  }
  writeSystem(address: bigint, bytes: number, value: bigint, isUser: boolean): void {
    this.store(this.access(BigInt.asUintN(64, address), bytes, true, isUser), bytes, value);
  }

  // ---- ports ------------------------------------------------------------------------------------

  /** IOPL below the CPL: the TSS's I/O bitmap, which Linux leaves all ones, would have to allow it. */
  checkPort(): void {
    const iopl = (this.registers.get32(state.eflags) >> 12) & 3;
    if (iopl < this.registers.cpl) throw generalProtection();
  }
  portRead(port: number, bytes: number): number {
    const value = this.machine.pio.read(port, bytes as 1 | 2 | 4);
    this.afterDevice();
    return value;
  }
  portWrite(port: number, bytes: number, value: number): void {
    this.machine.pio.write(port, bytes as 1 | 2 | 4, value);
    this.afterDevice();
  }

  private afterDevice(): void {
    if (this.machine.stopReason) this.registers.set32(state.fuel, 0);
    else this.interruptsChanged();
  }

  /** Something may have become deliverable: leave soon. */
  interruptsChanged(): void {
    const waiting = this.apic.pending() >= 0;
    this.registers.set32(state.interruptPending, waiting ? 1 : 0);
    if (waiting && this.registers.get32(state.eflags) & 0x200) this.registers.set32(state.fuel, 0);
  }

  // ---- exceptions -------------------------------------------------------------------------------

  /** Notes a fault of the instruction whose record is `at`. */
  private fault(fault: GuestFault, at: number): void {
    this.setRip(at, false);
    this.pending = fault;
    this.registers.set32(state.exit, exitReason.fault);
  }

  private setRip(at: number, next: boolean): void {
    // Compiled code's sites are negative and hold what a record's field does.
    const where = at < 0 ? at & 0xffff : (this.words[at >> 2] as number) >>> 16;
    const offset = (where & 0xfff) + (next ? where >>> 12 : 0);
    const low = (this.words[(layout.state + state.virtualPage) >> 2] as number) >>> 0;
    const high = this.words[(layout.state + state.virtualPage + 4) >> 2] as number;
    const sum = low + offset;
    this.words[(layout.state + state.rip) >> 2] = sum | 0;
    this.words[(layout.state + state.rip + 4) >> 2] = sum >= 0x1_0000_0000 ? high + 1 : high;
  }

  private helper(at: number): number {
    this.statistics.helpers++;
    const number = this.words[(at + record.immediate) >> 2] as number;
    const site = this.translator.helperSites[number] as { instruction: Instruction };
    const execute = allHelpers[site.instruction.row.mnemonic] ?? helpers["ud"];
    this.setRip(at, true);
    try {
      if ((execute as Helper)(this, site.instruction) === "continue") return 0;
      this.registers.set32(state.exit, exitReason.helper);
    } catch (fault) {
      if (!(fault instanceof GuestFault)) throw fault;
      this.fault(fault, at);
    }
    return 1;
  }

  interrupt(number: number, kind: InterruptKind, errorCode = 0): void {
    deliver(this, number, errorCode, kind);
  }

  private deliverFault(first: GuestFault): void {
    let fault = first;
    for (;;) {
      this.statistics.exceptions[fault.vector] =
        (this.statistics.exceptions[fault.vector] ?? 0) + 1;
      if (fault.vector === vector.pageFault) this.registers.set64(state.cr2, fault.address);
      try {
        deliver(this, fault.vector, hasErrorCode(fault.vector) ? fault.errorCode : 0, "exception");
        return;
      } catch (second) {
        if (!(second instanceof GuestFault)) throw second;
        if (fault.vector === vector.doubleFault) {
          this.tripleFault = true;
          return;
        }
        fault = combinesToDoubleFault(fault.vector, second.vector)
          ? new GuestFault(vector.doubleFault)
          : second;
      }
    }
  }

  private deliverExternal(number: number): void {
    this.statistics.interrupts++;
    this.apic.acknowledge(number);
    this.halted = false;
    try {
      deliver(this, number, 0, "external");
    } catch (fault) {
      if (!(fault instanceof GuestFault)) throw fault;
      this.deliverFault(fault);
    }
  }

  // ---- running ----------------------------------------------------------------------------------

  /** Runs until somebody above must decide. `wait` blocks until a deadline (ms) or a kick. */
  run(wait: (timeoutMs: number) => void, kicked: () => boolean): "kicked" | "shutdown" | "halt" {
    const { registers } = this;
    for (;;) {
      if (this.pending) {
        const fault = this.pending;
        this.pending = undefined;
        this.deliverFault(fault);
      }
      if (this.tripleFault) return "shutdown";
      if (registers.get32(state.fuel) <= 0 || this.halted) {
        if (this.machine.stopReason || kicked()) return "kicked";
        this.jit.poll();
        this.apic.tick(this.machine.clock.now());
        registers.set32(state.fuel, fuelSlice);
      }
      const waiting = this.apic.pending();
      registers.set32(state.interruptPending, waiting >= 0 ? 1 : 0);
      const enabled = (registers.get32(state.eflags) & 0x200) !== 0;
      if (waiting >= 0 && enabled) {
        if (this.shadowUntil !== registers.rip) this.deliverExternal(waiting);
        else registers.set32(state.fuel, 1);
      }
      this.shadowUntil = -1n;
      if (this.halted) {
        if (!enabled) return "halt";
        this.idle(wait);
        continue;
      }
      const at = this.lookup();
      if (at === 0) continue;
      this.enter(at);
      const reason = registers.get32(state.exit);
      this.statistics.exits[reason] = (this.statistics.exits[reason] as number) + 1;
      if (reason === exitReason.hot) this.foundHot();
    }
  }

  private foundHot(): void {
    const at = registersRecord(this.registers);
    this.translator.stopCounting(at);
    const low = this.words[(layout.state + state.rip) >> 2] as number;
    const high = this.words[(layout.state + state.rip + 4) >> 2] as number;
    const page = this.fetch(low, high);
    if (page < 0) return;
    const host = this.paging.hostOf(page * 4096);
    this.jit.hot({ page, offset: low & 0xfff, mode: this.mode, host, record: at });
  }

  /** For tests: runs from RIP to the next HLT; the vector of an exception, or -1. */
  step(): number {
    this.halted = false;
    this.registers.set32(state.fuel, fuelSlice);
    while (!this.halted) {
      const at = this.lookup();
      if (at !== 0) {
        this.enter(at);
        if (this.registers.get32(state.exit) === exitReason.hot) {
          this.foundHot();
          this.jit.compilePending();
        }
      }
      if (this.pending) {
        const { vector: number } = this.pending;
        this.pending = undefined;
        return number;
      }
      if (this.registers.get32(state.fuel) <= 0) this.registers.set32(state.fuel, fuelSlice);
    }
    return -1;
  }

  private idle(wait: (timeoutMs: number) => void): void {
    const left = (this.apic.deadline - this.machine.clock.now()) / 1e6;
    if (left > 0) wait(left);
  }

  /** The run at RIP, translated if need be; 0 when fetching it faulted. */
  lookup(): number {
    const low = this.words[(layout.state + state.rip) >> 2] as number;
    const high = this.words[(layout.state + state.rip + 4) >> 2] as number;
    const page = this.fetch(low, high);
    if (page < 0) return 0;
    const offset = low & 0xfff;
    this.words[(layout.state + state.virtualPage) >> 2] = low & ~0xfff;
    this.words[(layout.state + state.virtualPage + 4) >> 2] = high;
    let at = this.translator.find(page, offset, this.mode);
    if (at === 0) at = this.translate(page, offset, low, high);
    if (at === 0) return 0;
    const crosses = at < 0;
    if (crosses) at = -at;
    const entry = (layout.jumpCache >> 2) + (((low ^ (low >>> 14)) & (jumpCacheEntries - 1)) << 2);
    this.words[entry] = low;
    this.words[entry + 1] = high ^ (this.mode << 24);
    this.words[entry + 2] = at;
    this.words[entry + 3] = crosses ? 0 : 1;
    return at;
  }

  /** A new run; negative: one that crosses pages, which direct jumps must not be linked to. */
  private translate(page: number, offset: number, low: number, high: number): number {
    if (this.translator.isFull || this.jit.isFull) {
      this.translator.flush();
      this.jit.flush();
      this.flushJumps();
    }
    const host = this.paging.hostOf(page * 4096);
    if (offset <= 4096 - 15) {
      const at = this.translator.translate(page, host, offset, this.mode);
      if (at !== undefined) return at;
    }
    const alone = this.translator.translate(page, host, offset, this.mode);
    if (alone !== undefined) return alone;
    const nextLow = ((low & ~0xfff) + 4096) | 0;
    const nextPage = this.fetch(nextLow, nextLow === 0 ? (high + 1) | 0 : high);
    if (nextPage < 0) return 0;
    const known = this.translator.findCrossing(page, offset, this.mode, nextPage);
    if (known !== 0) return -known;
    const following = { page: nextPage, host: this.paging.hostOf(nextPage * 4096) };
    return -(this.translator.translate(page, host, offset, this.mode, following) as number);
  }

  /** Physical page number of a code address, or -1 with the fault pending at RIP. */
  private fetch(low: number, high: number): number {
    const tlb = this.fetchTlb;
    const at = ((low >>> 12) & (fetchTlbEntries - 1)) * 4;
    const tag = low & ~0xfff;
    if (tlb[at] === tag && tlb[at + 1] === high && tlb[at + 2] === this.mode)
      return tlb[at + 3] as number;
    const physical = this.page(low, high, access.fetch, this.mode === 1);
    if (physical < 0 || this.paging.hostOf(physical) < 0) {
      this.pending = physical < 0 ? this.lastFault : generalProtection();
      return -1;
    }
    this.knownCodePages.add(pageNumber(low, high));
    tlb[at] = tag;
    tlb[at + 1] = high;
    tlb[at + 2] = this.mode;
    tlb[at + 3] = physical / 4096;
    return physical / 4096;
  }
}

function registersRecord(registers: Registers): number {
  return registers.get32(state.record);
}

function pageNumber(low: number, high: number): number {
  return (high & 0xffff) * 0x10_0000 + (low >>> 12);
}

export { canonical };
