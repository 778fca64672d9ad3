/**
 * The guest's memory as TypeScript reaches it: the slow path of emitted code, and the accesses of
 * helpers, which run with the guest's privilege or with the supervisor's.
 *
 * What crosses a page or belongs to a device is staged in scratch memory: a load finds the bytes
 * there, a store leaves them there and `commit` takes them where they belong.
 */
import type { Machine } from "../../machine/machine.ts";
import { accessKind } from "../emit/memory.ts";
import type { HandlerSet } from "../interpreter/forms.ts";
import { Translator } from "../interpreter/translate.ts";
import { access, Paging } from "../mmu/paging.ts";
import { exitReason, layout, state } from "../state.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { spendOnSlowAccess } from "./fuel.ts";
import { Registers } from "./registers.ts";
import { type CpuStatistics, newStatistics } from "./statistics.ts";

const staging = layout.scratch + 64;

type Staged =
  | { readonly kind: "mmio"; readonly address: number; readonly bytes: number }
  | {
      readonly kind: "crossing";
      readonly first: number;
      readonly second: number;
      readonly firstBytes: number;
      readonly bytes: number;
    };

export abstract class GuestAccess {
  readonly registers: Registers;
  readonly paging: Paging;
  readonly translator: Translator;
  readonly machine: Machine;
  readonly statistics: CpuStatistics = newStatistics();
  protected readonly words: Int32Array;
  protected readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** Of translated code: bit 0 is set at CPL 3; see `codeSizeOf` for the rest. */
  protected mode = 0;
  get codeMode(): number {
    return this.mode;
  }
  get isUser(): boolean {
    return (this.mode & 1) !== 0;
  }
  private staged: Staged | undefined;

  constructor(memory: WebAssembly.Memory, machine: Machine, set: HandlerSet) {
    this.machine = machine;
    this.registers = new Registers(memory);
    this.words = this.registers.words;
    this.bytes = this.registers.bytes;
    this.view = new DataView(memory.buffer);
    this.paging = new Paging(memory, machine.memory.sizeBytes);
    this.translator = new Translator(memory, set, (page) => this.paging.protect(page));
  }

  /** Notes a fault of the instruction whose record or site is `at`. */
  protected abstract fault(fault: GuestFault, at: number): void;
  protected abstract setRip(at: number, next: boolean): void;
  /** A device was accessed: interrupts may be pending, the machine may want to stop. */
  protected abstract afterDevice(): void;

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
  protected slow(kind: number, at: number): number {
    this.statistics.slowAccesses++;
    spendOnSlowAccess(this.registers);
    const low = this.words[(layout.state + state.slowAddress) >> 2] as number;
    const high = this.words[(layout.state + state.slowAddress + 4) >> 2] as number;
    this.retry = false;
    const result = this.resolve(low, high, kind, this.isUser, at < 0);
    if (result !== 0) return result;
    if (this.retry) {
      this.setRip(at, false);
      this.retriedAt = this.registers.rip;
      this.registers.set32(state.exit, exitReason.helper);
    } else this.fault(this.lastFault, at);
    return 0;
  }

  /** A store would have changed compiled code that may be running: the interpreter does it. */
  private retry = false;
  /** Where the last such store is: its run must not be compiled before it got its turn. */
  protected retriedAt = -1n;

  protected lastFault = new GuestFault(vector.generalProtection);

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
    if (host < 0) return this.stageDevice(page + offset, bytes, kind);
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
  protected page(low: number, high: number, kind: number, isUser: boolean): number {
    const top = high >> 15;
    if (top !== 0 && top !== -1) {
      this.lastFault = generalProtection(0, low, high);
      return -1;
    }
    if (this.paging.walk(low, high, kind, isUser)) return this.paging.physicalPage;
    this.lastFault = new GuestFault(vector.pageFault, this.paging.errorCode, low, high);
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

  /** Into memory at `to`. */
  private readPhysical(address: number, bytes: number, to: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0)
      for (let i = 0; i < bytes; i++) this.bytes[to + i] = this.machine.mmio.read(address + i, 1);
    else this.bytes.copyWithin(to, host, host + bytes);
  }

  private writePhysical(address: number, bytes: number, from: number): void {
    const host = this.paging.hostOf(address);
    if (host < 0) {
      for (let i = 0; i < bytes; i++)
        this.machine.mmio.write(address + i, 1, this.bytes[from + i] as number);
      return;
    }
    this.codeWritten(address, bytes);
    this.bytes.copyWithin(host, from, from + bytes);
  }

  private stageDevice(address: number, bytes: number, kind: number): number {
    if (kind & accessKind.write) {
      this.staged = { kind: "mmio", address, bytes };
      if (!(kind & accessKind.update)) return staging;
    }
    const bus = this.machine.mmio;
    for (let at = 0; at < bytes; at += 4) {
      const size = Math.min(4, bytes - at) as 1 | 2 | 4;
      this.words[(staging + at) >> 2] = bus.read(address + at, size);
    }
    this.afterDevice();
    return staging;
  }

  protected commit(): void {
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
    const known = this.paging.find(low, high, bytes, write, isUser);
    if (known !== 0) return known;
    const host = this.resolve(low, high, bytes | (write ? accessKind.write : 0), isUser);
    if (host === 0) throw this.lastFault;
    return host;
  }

  private load(host: number, bytes: number): bigint {
    const { view } = this;
    if (bytes === 8) return view.getBigUint64(host, true);
    if (bytes === 4) return BigInt(view.getUint32(host, true));
    if (bytes === 2) return BigInt(view.getUint16(host, true));
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--)
      value = (value << 8n) | BigInt(this.bytes[host + i] as number);
    return value;
  }

  private store(host: number, bytes: number, value: bigint): void {
    if (bytes === 8) this.view.setBigUint64(host, value, true);
    else {
      let rest = value;
      for (let i = 0; i < bytes; i++) {
        this.bytes[host + i] = Number(rest & 0xffn);
        rest >>= 8n;
      }
    }
    if (host < layout.scratchEnd) this.commit();
  }

  /**
   * Index of the first word of an operand whose address is in the state, when the TLB knows that the
   * guest may use all of it in one page; -1: it is to be reached piece by piece.
   */
  wordsOfData(at: number, bytes: number, write: boolean): number {
    const low = this.registers.get32(at);
    const high = this.registers.get32(at + 4);
    const host = this.paging.find(low, high, bytes, write, this.isUser);
    return host === 0 || host & 3 ? -1 : host >>> 2;
  }

  /** As the guest's instruction would: with its privilege. Throws GuestFault. */
  readData(address: bigint, bytes: number): bigint {
    return this.load(this.access(address, bytes, false, this.isUser), bytes);
  }
  writeData(address: bigint, bytes: number, value: bigint): void {
    this.store(this.access(address, bytes, true, this.isUser), bytes, value);
  }
  readAs(address: bigint, bytes: number, isUser: boolean): bigint {
    return this.load(this.access(BigInt.asUintN(64, address), bytes, false, isUser), bytes);
  }
  /** Faults where a write would, and writes nothing. */
  checkWritable(address: bigint, bytes: number): void {
    this.access(BigInt.asUintN(64, address), bytes, true, this.isUser);
    this.staged = undefined;
  }
  /** Descriptor tables, TSS and interrupt stacks: supervisor accesses at any CPL. */
  readSystem(address: bigint, bytes: number): bigint {
    return this.load(this.access(BigInt.asUintN(64, address), bytes, false, false), bytes);
  }
  writeSystem(address: bigint, bytes: number, value: bigint, isUser: boolean): void {
    this.store(this.access(BigInt.asUintN(64, address), bytes, true, isUser), bytes, value);
  }
}
