/**
 * A booting Linux whose every run is the same: time and interrupts follow from what the guest did, not
 * from when this processor looked.
 *
 * ```
 * event  a helper starts or a fault is delivered: the same in every tier. Its state is hashed; the clock
 *        goes on by a fixed time for each
 * gate   after HLT, IRET, SYSRET or SYSEXIT: the timer is looked at and an interrupt may be delivered;
 *        nowhere else
 * point  the run loop is about to enter WebAssembly: where else depends on the tier
 * ```
 * Fetching code leaves accessed bits of page tables alone here: a region looks at all of its pages when
 * it is entered, the interpreter when it gets there, and a kernel sees those bits.
 */
import { access } from "../../../../vmm-sandbox/translator/mmu/paging.ts";
import { tableIndex } from "../../../../vmm-sandbox/translator/mmu/ram-host.ts";
import { RegionCompiler } from "../../../../vmm-sandbox/translator/region/compiler.ts";
import type {
  CompiledModule,
  RegionCompiling,
  RegionRequest,
} from "../../../../vmm-sandbox/translator/region/request.ts";
import { layout, state } from "../../../../vmm-sandbox/translator/state.ts";
import type { Cpu } from "../../../../vmm-sandbox/translator/system/cpu.ts";
import { type LinuxBoot, prepareLinux } from "../boot-linux.ts";
import { hashOf, readState, stateWords } from "./compared-state.ts";

/** How hot code becomes compiled code; without a clock, so that each run does the same. */
export interface Tier {
  readonly name: string;
  readonly hotThreshold: number;
  /** Hot heads that wait for each other. */
  readonly batch: number;
  /** Compiles with this in place: a fault on purpose, in this tier alone. */
  readonly whileCompiling?: <T>(compile: () => T) => T;
}

const nanosecondsPerEvent = 10_000;
const gateMnemonics = new Set(["hlt", "iret", "sysret", "sysexit"]);
/** DR7: the breakpoint that is made, and those that may be. */
const [oneBreakpoint, anyBreakpoint] = [1n, 0xffn];

/** Thrown out of the run loop at a point; `run` may be called again. */
const paused = new Error("Paused");

class EventClock {
  time = 0;
  now(): number {
    return this.time;
  }
  wallTime(): bigint {
    return 1_700_000_000_000_000_000n + BigInt(Math.floor(this.time));
  }
}

class CompilingByCount implements RegionCompiling {
  private readonly compiler: RegionCompiler;
  private readonly tier: Tier;
  private readonly queue: RegionRequest[] = [];
  private hurries = false;

  constructor(memory: WebAssembly.Memory, ramBytes: number, tier: Tier) {
    this.compiler = new RegionCompiler(memory, ramBytes);
    this.tier = tier;
  }
  submit(request: RegionRequest): void {
    this.queue.push(request);
  }
  take(): CompiledModule | undefined {
    if (this.queue.length === 0 || !(this.hurries || this.queue.length >= this.tier.batch))
      return undefined;
    this.hurries = false;
    const compile = () => this.compiler.compile(this.queue.splice(0));
    return this.tier.whileCompiling ? this.tier.whileCompiling(compile) : compile();
  }
  forget(): void {
    this.queue.length = 0;
  }
  hurry(): void {
    this.hurries = true;
  }
}

export class TracedMachine {
  readonly tier: Tier;
  readonly cpu: Cpu;
  readonly ram: Uint8Array;
  /** Why it ended; undefined: it has not. */
  ended: string | undefined;
  gates = 0;
  events = 0;
  output = "";
  private hashes = new Int32Array(1 << 16);
  private readonly clock = new EventClock();
  private readonly scratch = new Int32Array(stateWords);
  private readonly point = new Int32Array(stateWords);
  private readonly run: () => { readonly reason: string };
  private gateOpen = false;
  private isResumed = false;
  /** Asked at each point: whether to pause there. */
  private awaitedEvent = Number.POSITIVE_INFINITY;
  private pausesAt: () => boolean = () => false;

  constructor(boot: Omit<LinuxBoot, "onOutput">, tier: Tier) {
    this.tier = tier;
    const { clock } = this;
    const { vcpu, machine } = prepareLinux({
      ...boot,
      clock,
      compiling: (memory) => new CompilingByCount(memory, boot.ramBytes, tier),
      onOutput: (byte) => {
        this.output += String.fromCharCode(byte);
      },
    });
    this.cpu = vcpu.cpu;
    this.cpu.translator.hotThreshold = tier.hotThreshold;
    this.ram = new Uint8Array(this.cpu.registers.bytes.buffer, layout.ram, boot.ramBytes);
    this.run = () => {
      const reason = this.cpu.run(
        () => this.sleep(),
        () => false,
      );
      return { reason: machine.stopReason?.kind ?? reason };
    };
    this.watchEvents();
    this.watchInterrupts();
    leaveFetchesUnmarked(this.cpu);
  }

  /** To the point at a gate; or, earlier, its end. */
  runToGate(gate: number): void {
    this.runUntil(() => this.gateOpen && this.gates >= gate);
  }

  /** To the first point after an event; tiers reach it at different places. */
  runToEvent(event: number): void {
    this.awaitedEvent = event;
    this.runUntil(() => this.events >= event);
  }

  /** To the next point where `pause` says so; or its end. */
  runUntil(pause: () => boolean): void {
    if (this.ended !== undefined) return;
    this.pausesAt = pause;
    try {
      this.ended = this.run().reason;
    } catch (error) {
      if (error === paused) return;
      this.ended = error instanceof Error ? error.message : String(error);
    }
  }

  /** From here on the run loop gets control at the first chance: at each point of compiled code. */
  leaveOften(): void {
    this.cpu.fuelSlice = 1;
    this.cpu.registers.set32(state.fuel, 1);
  }

  /** From here on each instruction is a point: a breakpoint that nothing hits is set. */
  stepEachInstruction(): void {
    const { debug } = this.cpu.registers;
    const control = debug[7] ?? 0n;
    if ((control & anyBreakpoint) === 0n) debug[7] = control | oneBreakpoint;
  }

  /** At a point. */
  get stateHere(): Int32Array {
    return readState(this.cpu, this.point, "exact");
  }

  /** The first event from `from` on that both know and that differs; -1: none. */
  firstDifference(other: TracedMachine, from: number): number {
    const end = Math.min(this.events, other.events);
    for (let i = from * 2; i < end * 2; i++)
      if (this.hashes[i] !== other.hashes[i]) return Math.floor(i / 2);
    return -1;
  }

  private watchEvents(): void {
    const { cpu } = this;
    const { statistics } = cpu;
    const count = statistics.countSensitive.bind(statistics);
    statistics.countSensitive = (mnemonic, isUser) => {
      count(mnemonic, isUser);
      this.event("page", saltOf(mnemonic));
      if (!gateMnemonics.has(mnemonic)) return;
      this.gateOpen = true;
      this.gates++;
    };
    const deliver = cpu.deliverFault.bind(cpu);
    cpu.deliverFault = (fault) => {
      this.event("exact", fault.vector * 0x1_0000 + fault.errorCode);
      deliver(fault);
    };
  }

  private event(rip: "exact" | "page", salt: number): void {
    if (this.hashes.length < this.events * 2 + 2) {
      const larger = new Int32Array(this.hashes.length * 2);
      larger.set(this.hashes);
      this.hashes = larger;
    }
    const [a, b] = hashOf(readState(this.cpu, this.scratch, rip), salt);
    this.hashes[this.events * 2] = a;
    this.hashes[this.events * 2 + 1] = b;
    this.events++;
    this.clock.time += nanosecondsPerEvent;
    if (this.events >= this.awaitedEvent) this.cpu.registers.set32(state.fuel, 0);
  }

  /** The run loop asks the APIC once before it enters WebAssembly: that is a point. */
  private watchInterrupts(): void {
    const { cpu } = this;
    const { apic } = cpu;
    const tick = apic.tick.bind(apic);
    const pending = apic.pending.bind(apic);
    cpu.interruptsChanged = () => undefined;
    apic.tick = () => undefined;
    // At gates the run loop gets control; elsewhere helpers may answer with a jump, as always.
    const mayJump = cpu.mayJump.bind(cpu);
    let isAsking = false;
    cpu.mayJump = () => {
      if (this.gateOpen) return false;
      isAsking = true;
      const may = mayJump();
      isAsking = false;
      return may;
    };
    apic.pending = () => {
      if (isAsking) return -1;
      if (this.isResumed) this.isResumed = false;
      else if (this.pausesAt()) {
        this.isResumed = true;
        throw paused;
      }
      if (!this.gateOpen && !cpu.halted) return -1;
      this.gateOpen = false;
      tick(this.clock.time);
      return pending();
    };
  }

  private sleep(): void {
    const { deadline } = this.cpu.apic;
    if (deadline === Number.POSITIVE_INFINITY) throw new Error("It sleeps for ever");
    this.clock.time = Math.max(this.clock.time, deadline);
    this.gates++;
    this.gateOpen = true;
  }
}

const salts = new Map<string, number>();

function saltOf(name: string): number {
  let salt = salts.get(name);
  if (salt === undefined) {
    salt = 0;
    for (const letter of name) salt = (Math.imul(salt, 31) + letter.charCodeAt(0)) | 0;
    salts.set(name, salt);
  }
  return salt;
}

function leaveFetchesUnmarked(cpu: Cpu): void {
  const { paging, registers } = cpu;
  const { words } = registers;
  const walk = paging.walk.bind(paging);
  paging.walk = (low, high, kind, isUser) => {
    if (kind !== access.fetch || !paging.pagingEnabled || !cpu.isLongMode)
      return walk(low, high, kind, isUser);
    const before: (readonly [index: number, value: number])[] = [];
    let table = Number(registers.get64(state.cr3) & 0xf_ffff_ffff_f000n);
    for (let level = 3; level >= 0; level--) {
      const host = paging.hostOf(table + tableIndex(level, low, high) * 8);
      if (host < 0) break;
      const entry = words[host >> 2] as number;
      before.push([host >> 2, entry]);
      if (!(entry & 1) || (level < 3 && entry & 0x80)) break;
      table = ((entry & ~0xfff) >>> 0) + ((words[(host >> 2) + 1] as number) & 0xf_ffff) * 2 ** 32;
    }
    const found = walk(low, high, kind, isUser);
    for (const [index, value] of before) words[index] = value;
    return found;
  };
}
