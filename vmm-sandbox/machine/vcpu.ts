/**
 * One virtual CPU, as both implementations (KVM and the translator) offer it.
 *
 * `run` serves port and MMIO accesses itself, through the machine's buses, because they are the
 * hot path; it returns only when somebody above must decide. 64-bit registers are bigint: nobody
 * touches them while the guest runs.
 */

// biome-ignore format: table
export const generalRegisterNames = [
  "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
] as const;

export type GeneralRegisters = Readonly<Record<(typeof generalRegisterNames)[number], bigint>>;

/** A segment register with its hidden part. Intel SDM vol. 3A §3.4.5 (descriptor fields). */
export interface Segment {
  readonly base: bigint;
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  /** D/B: default operand size. */
  readonly db: number;
  /** S: 0 for system segments. */
  readonly s: number;
  /** L: 64-bit code. */
  readonly l: number;
  /** G: limit counts pages. */
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

export interface DescriptorTable {
  readonly base: bigint;
  readonly limit: number;
}

export const segmentNames = ["cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt"] as const;

export interface SystemRegisters extends Readonly<Record<(typeof segmentNames)[number], Segment>> {
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
  readonly cr0: bigint;
  readonly cr2: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly cr8: bigint;
  readonly efer: bigint;
  readonly apicBase: bigint;
}

export type MpState = "running" | "uninitialized" | "init-received" | "sipi-received" | "halted";

/** Interrupts and exceptions that were on their way when the vCPU stopped. */
export interface PendingEvents {
  readonly exception?: { readonly vector: number; readonly errorCode?: number };
  readonly interrupt?: { readonly vector: number; readonly soft: boolean };
  /** STI or MOV SS just ran: nothing may be delivered before the next instruction. */
  readonly interruptShadow: boolean;
  readonly nmiPending: boolean;
  readonly nmiMasked: boolean;
}

/** Everything a vCPU knows, in plain data: what a snapshot holds. */
export interface VcpuState {
  readonly general: GeneralRegisters;
  readonly system: SystemRegisters;
  readonly mpState: MpState;
  /** XSAVE area in standard (not compacted) format: x87, SSE, AVX… as XCR0 has them. */
  readonly xsave: Uint8Array;
  readonly xcr0: bigint;
  /** DR0 to DR3, DR6, DR7. */
  readonly debug: readonly bigint[];
  readonly msrs: readonly (readonly [index: number, value: bigint])[];
  /** The local APIC's register page, first KiB. */
  readonly lapic: Uint8Array;
  readonly events: PendingEvents;
  readonly tscKhz: number;
}

export type VmExit =
  /** `kick` was called, or the machine was asked to stop. */
  | { readonly reason: "kicked" }
  /** HLT with nobody left to wake the vCPU (no interrupt controller). */
  | { readonly reason: "halt" }
  /** Triple fault. */
  | { readonly reason: "shutdown" }
  /** The CPU cannot go on: KVM_EXIT_FAIL_ENTRY, an instruction nobody implements… */
  | { readonly reason: "failed"; readonly why: string };

export interface Vcpu extends Disposable {
  readonly index: number;
  /** Runs the guest; blocks this thread. Call it again to go on after "kicked". */
  run(): VmExit;
  /** Makes `run` return "kicked" soon, now or at its next call. May be called from another thread. */
  kick(): void;
  getRegisters(): { readonly general: GeneralRegisters; readonly system: SystemRegisters };
  setRegisters(registers: {
    readonly general?: Partial<GeneralRegisters>;
    readonly system?: Partial<SystemRegisters>;
  }): void;
  /** Only while `run` is not running. */
  save(): VcpuState;
  restore(state: VcpuState): void;
}
