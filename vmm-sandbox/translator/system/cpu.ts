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
import { CompilingHere } from "../region/compiler.ts";
import { Jit } from "../region/jit.ts";
import type { RegionCompiling } from "../region/request.ts";
import { delegated, exitReason, helperAnswer, layout, record, state } from "../state.ts";
import { Collections } from "../wasm/engine.ts";
import { CodeLookup } from "./code-lookup.ts";
import { readControl, setEfer, writeControl } from "./control-registers.ts";
import { CoreInstance, handlerSet } from "./core-instance.ts";
import { GuestFault } from "./fault.ts";
import { spendOn, usualSlice } from "./fuel.ts";
import { helperOf } from "./helper-table.ts";
import { deliver, deliverFault, type InterruptKind } from "./interrupts.ts";
import { LocalApic } from "./local-apic.ts";
import { Msrs } from "./msr.ts";
import { attribute, segmentIndex } from "./registers.ts";
import { isWatched, stepAlone } from "./single-step.ts";
import { executeDelegated } from "./soft-sse.ts";
import { settleFault } from "./stack-fault.ts";
import { takeExternal, takeNmi } from "./take-interrupt.ts";
import { TimeStampCounter } from "./time-stamp-counter.ts";

export class Cpu extends CodeLookup {
  readonly jit: Jit;
  readonly apic: LocalApic;
  readonly tsc: TimeStampCounter;
  readonly msrs: Msrs;
  halted = false;
  /** Instructions, roughly, between looks at the clock. */
  fuelSlice = usualSlice;
  /** RIP before which no interrupt is delivered: STI and MOV SS. */
  shadowUntil = -1n;
  /** What debug registers saw of a load of SS, which is reported one instruction later. */
  heldBreakpoints: bigint | undefined;
  /** Between an NMI and the next IRET. */
  nmiMasked = false;
  /** By helpers and slow accesses, some of which make a few objects. */
  private readonly collections = new Collections(80_000);
  private readonly newCore: () => CoreInstance;
  private core: CoreInstance;
  private tripleFault = false;

  constructor(memory: WebAssembly.Memory, machine: Machine, compiling?: RegionCompiling) {
    super(memory, machine, handlerSet());
    this.apic = new LocalApic(machine.clock);
    this.tsc = new TimeStampCounter(machine.clock);
    this.msrs = new Msrs(this);
    this.newCore = () =>
      new CoreInstance(memory, {
        slowHost: (kind, at) => this.slow(kind, at),
        commit: () => this.commit(),
        raise: (number, at) => this.fault(new GuestFault(number), at),
        helper: (at) => this.helper(at),
        validate: (region) => this.jit.validate(region),
      });
    this.core = this.newCore();
    const compiler = compiling ?? new CompilingHere(memory, machine.memory.sizeBytes);
    this.jit = new Jit(memory, this.core.table, this.translator, compiler, {
      pageAt: (low, high) => this.codePageAt(low, high),
      hostOf: (physical) => this.paging.hostOf(physical),
      watch: (page) => this.codePages?.markCode(page),
    });
    machine.memory.onWrite = (address, size) => this.codeWritten(address, size);
    this.setPrivilege(0);
  }

  /** IA-32e mode: 64-bit or compatibility. */
  get isLongMode(): boolean {
    return (this.registers.get32(state.efer) & 0x400) !== 0;
  }

  /** 64-bit code. */
  get is64(): boolean {
    return this.mode < 2;
  }

  /** Neither paging nor privilege: CR0.PE is clear. */
  get isReal(): boolean {
    return (this.registers.get32(state.cr0) & 1) === 0;
  }

  /** RIP as the program sees it: from CS's base, outside 64-bit code. */
  get codeOffset(): bigint {
    const linear = this.registers.rip;
    if (this.is64) return linear;
    return (linear - this.registers.get64(state.segmentBase + 8)) & 0xffff_ffffn;
  }

  /** Goes on at an offset in CS, which is loaded already. */
  jumpTo(offset: bigint): void {
    const base = this.is64 ? 0n : this.registers.get64(state.segmentBase + 8);
    this.registers.rip = this.is64 ? offset : (base + offset) & 0xffff_ffffn;
  }

  setPrivilege(cpl: number): void {
    this.registers.set32(state.cpl, cpl);
    this.modeChanged();
  }

  /** After a change of CS, SS, CPL, CR0.PE or EFER: what kind of code runs now. */
  modeChanged(): void {
    const { registers } = this;
    const isUser = registers.cpl === 3;
    registers.set32(state.tlb, isUser ? layout.userTlb : layout.kernelTlb);
    const code = registers.caches[segmentIndex.cs]?.attributes ?? 0;
    const isLong = this.isLongMode && (code & attribute.long) !== 0;
    this.mode = (isUser ? 1 : 0) | (isLong ? 0 : code & attribute.big ? 2 : 4);
    if (this.mode >= 2) this.core.loadLegacy();
    const stack = registers.caches[segmentIndex.ss]?.attributes ?? 0;
    registers.set32(state.stackMask, isLong || stack & attribute.big ? -1 : 0xffff);
    registers.set32(state.stackMask + 4, isLong ? -1 : 0);
    this.caches.setMode(this.mode);
  }

  /** Runs from a record on. */
  enter(at: number): void {
    this.core.enter(at);
  }

  /** Never called while WebAssembly runs. */
  override forgetTranslations(): void {
    super.forgetTranslations();
    if (!this.jit.hasModules) return;
    // V8 keeps all instances that a table was ever given to, for as long as it keeps the table.
    this.core = this.newCore();
    if (this.mode >= 2) this.core.loadLegacy();
    this.jit.joinTable(this.core.table);
    this.collections.now();
  }

  setEfer(value: bigint): void {
    setEfer(this, value);
  }

  readControl(number: number): bigint {
    return readControl(this, number);
  }

  writeControl(number: number, value: bigint): void {
    writeControl(this, number, value);
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

  protected override afterDevice(): void {
    if (this.machine.stopReason) this.registers.set32(state.fuel, 0);
    else this.interruptsChanged();
  }

  /** Something may have become deliverable: leave soon. */
  interruptsChanged(): void {
    if (this.apic.nmi) this.registers.set32(state.fuel, 0);
    const waiting = this.apic.pending() >= 0;
    this.registers.set32(state.interruptPending, waiting ? 1 : 0);
    if (waiting && this.registers.get32(state.eflags) & 0x200) this.registers.set32(state.fuel, 0);
  }

  /** Notes a fault of the instruction whose record is `at`. */
  protected override fault(fault: GuestFault, at: number): void {
    this.setRip(at, false);
    this.pending = settleFault(this, fault);
    this.registers.set32(state.exit, exitReason.fault);
  }

  protected override setRip(at: number, next: boolean): void {
    // Compiled code's sites are negative: region-site.ts, siteId.
    const where = at < 0 ? at : (this.words[at >> 2] as number) >>> 16;
    const here = at < 0 ? (at << 5) >> 5 : where & 0xfff;
    const length = at < 0 ? (at >>> 27) & 15 : where >>> 12;
    const offset = here + (next ? length : 0);
    const low = (this.words[(layout.state + state.virtualPage) >> 2] as number) >>> 0;
    const high = this.words[(layout.state + state.virtualPage + 4) >> 2] as number;
    const sum = low + offset;
    this.words[(layout.state + state.rip) >> 2] = sum | 0;
    this.words[(layout.state + state.rip + 4) >> 2] = (high + Math.floor(sum / 2 ** 32)) | 0;
  }

  private helper(at: number): number {
    this.statistics.helpers++;
    const number = this.words[(at + record.immediate) >> 2] as number;
    const instruction = this.translator.helpers.get(number);
    const { row } = instruction;
    const execute = helperOf(row);
    this.statistics.countSensitive(row.mnemonic, this.isUser);
    this.setRip(at, true);
    try {
      if (execute(this, instruction) === "continue") return helperAnswer.next;
      if (this.mayJump()) return helperAnswer.jump;
      this.registers.set32(state.exit, exitReason.helper);
    } catch (fault) {
      if (!(fault instanceof GuestFault)) throw fault;
      this.fault(fault, at);
    }
    return helperAnswer.leave;
  }

  /** After an instruction that may have changed anything: the run loop would enter again at once. */
  mayJump(): boolean {
    if (this.halted || this.pending || this.tripleFault || this.apic.nmi) return false;
    if (this.shadowUntil !== -1n || this.codePages?.hasWritten || isWatched(this)) return false;
    if (this.apic.pending() >= 0) return false;
    this.registers.set32(state.interruptPending, 0);
    spendOn(exitReason.helper, this.registers);
    return true;
  }

  interrupt(number: number, kind: InterruptKind, errorCode = 0): void {
    deliver(this, number, errorCode, kind);
  }

  takePending(): GuestFault | undefined {
    const fault = this.pending;
    this.pending = undefined;
    return fault;
  }

  /** Delivers an exception to the guest. */
  deliverFault(first: GuestFault): void {
    this.halted = false; // a trap after HLT
    if (deliverFault(this, first) === "triple fault") this.tripleFault = true;
  }

  /** Runs until somebody above must decide. `wait` blocks until a deadline (ms) or a kick. */
  run(wait: (timeoutMs: number) => void, kicked: () => boolean): "kicked" | "shutdown" | "halt" {
    const { registers } = this;
    for (;;) {
      if (this.pending) {
        const fault = this.takePending() as GuestFault;
        if (fault.vector === delegated) this.pending = executeDelegated(this);
        else this.deliverFault(fault);
        if (this.pending) continue;
      }
      if (this.tripleFault) return "shutdown";
      if (registers.get32(state.fuel) <= 0 || this.halted) {
        if (this.machine.stopReason || kicked()) return "kicked";
        this.jit.poll();
        this.collections.after(this.statistics.helpers + this.statistics.slowAccesses);
        this.apic.tick(this.machine.clock.now());
        registers.set32(state.fuel, this.fuelSlice);
      }
      if (this.apic.nmi && !this.nmiMasked && this.shadowUntil !== registers.rip) takeNmi(this);
      const waiting = this.apic.pending();
      registers.set32(state.interruptPending, waiting >= 0 ? 1 : 0);
      const enabled = (registers.get32(state.eflags) & 0x200) !== 0;
      if (waiting >= 0 && enabled) {
        if (this.shadowUntil !== registers.rip) takeExternal(this, waiting);
        else registers.set32(state.fuel, 1);
      }
      this.shadowUntil = -1n;
      if (this.halted) {
        if (!enabled) return "halt";
        this.idle(wait);
        continue;
      }
      if (isWatched(this)) {
        stepAlone(this);
        continue;
      }
      if (this.codePages?.hasWritten) this.codePages.takeWritten(this);
      this.core.resume();
      const reason = registers.get32(state.exit);
      this.statistics.exits[reason] = (this.statistics.exits[reason] as number) + 1;
      spendOn(reason, registers);
      if (reason === exitReason.hot) this.foundHot();
      else if (reason === exitReason.lookup) this.lookup();
    }
  }

  private foundHot(): void {
    const at = this.registers.get32(state.record);
    this.translator.stopCounting(at);
    const isRetried = this.registers.rip === this.retriedAt;
    this.retriedAt = -1n;
    // Regions are 64-bit code so far.
    if (!this.is64 || isRetried) return;
    const low = this.words[(layout.state + state.rip) >> 2] as number;
    const high = this.words[(layout.state + state.rip + 4) >> 2] as number;
    const page = this.codePageAt(low, high);
    if (page >= 0) this.jit.hot({ low, high, page, mode: this.mode, record: at });
  }

  /** What `step` ended with. */
  stepFault: GuestFault | undefined;

  /** For tests: runs from RIP to the next HLT; the vector of an exception, -1, or -2: given up. */
  step(goOn = (): boolean => true): number {
    this.halted = false;
    this.registers.set32(state.fuel, this.fuelSlice);
    while (!this.halted) {
      const watched = isWatched(this);
      if (watched) stepAlone(this);
      const at = watched ? 0 : this.lookup();
      if (at !== 0) {
        this.enter(at);
        if (this.registers.get32(state.exit) === exitReason.hot) {
          this.foundHot();
          this.jit.compilePending();
        }
      }
      let fault = this.takePending();
      if (fault?.vector === delegated) fault = executeDelegated(this);
      this.stepFault = fault;
      if (fault) return fault.vector;
      if (this.registers.get32(state.fuel) > 0) continue;
      if (!goOn()) return -2;
      this.registers.set32(state.fuel, this.fuelSlice);
    }
    return -1;
  }

  private idle(wait: (timeoutMs: number) => void): void {
    const left = (this.apic.deadline - this.machine.clock.now()) / 1e6;
    if (left > 0) wait(left);
  }
}
