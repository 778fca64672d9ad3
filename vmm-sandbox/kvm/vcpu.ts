/**
 * A vCPU on KVM. Port and MMIO exits go straight to the buses; everything else either goes on or
 * ends `run`.
 *
 * Kicking: another thread sets `immediate_exit` in the shared `kvm_run`, so that the next KVM_RUN
 * returns at once, and sends a signal, so that one under way returns too (kick-signal.ts).
 */
import {
  type CallRow,
  Fd,
  MAP_SHARED,
  type Memory,
  mapFile,
  PROT_READ,
  PROT_WRITE,
  syscall,
} from "../../linux/index.ts";
import type { Bus } from "../machine/bus.ts";
import type {
  GeneralRegisters,
  SystemRegisters,
  Vcpu,
  VcpuState,
  VmExit,
} from "../machine/vcpu.ts";
import {
  exitReasons,
  kvm_debugregs,
  kvm_mp_state,
  kvm_regs,
  kvm_run,
  kvm_sregs,
  kvm_vcpu_events,
  kvm_xcrs,
  kvmIoctls,
} from "./abi.ts";
import { shapeCpuid } from "./cpuid.ts";
import { installKickHandler, type KickTarget, kickVcpu } from "./kick-signal.ts";
import { kvmCall, kvmTry } from "./kvm-fd.ts";
import {
  bootMsrs,
  getMsrs,
  IA32_TSC,
  IA32_TSC_DEADLINE,
  listMsrs,
  restoreMsrs,
  setMsrs,
} from "./msrs.ts";
import * as codec from "./registers.ts";
import { encodeCpuid, type KvmHandle } from "./vm.ts";

/** The part of a machine that exits need. */
export interface ExitHandlers {
  readonly pio: Pick<Bus, "readBytes" | "writeBytes">;
  readonly mmio: Pick<Bus, "readBytes" | "writeBytes">;
  /** Set when the machine is to stop; looked at after each exit. */
  readonly stopReason: unknown;
}

const [EINTR, EAGAIN] = [-4, -11];

export class KvmVcpu implements Vcpu {
  readonly index: number;
  #kickTarget: KickTarget;
  /** Exits by reason, for statistics. */
  readonly exits = new Map<number, number>();
  readonly #vm: KvmHandle;
  readonly #fd: Fd;
  readonly #handlers: ExitHandlers;
  readonly #run: Memory;
  readonly #view: DataView;

  /** `count` is the machine's number of vCPUs. */
  constructor(vm: KvmHandle, index: number, count: number, handlers: ExitHandlers) {
    this.index = index;
    this.#vm = vm;
    this.#handlers = handlers;
    this.#fd = Fd.take(kvmCall(vm.fd, "KVM_CREATE_VCPU", index));
    this.#run = mapFile(this.#fd, vm.vcpuMmapBytes, {
      flags: MAP_SHARED,
      protectionBits: PROT_READ | PROT_WRITE,
    });
    this.#view = new DataView(
      this.#run.bytes.buffer,
      this.#run.bytes.byteOffset,
      this.#run.bytes.length,
    );
    // CPUID first: newer KVMs refuse MSRs that CPUID does not offer.
    kvmCall(
      this.#fd,
      "KVM_SET_CPUID2",
      encodeCpuid(shapeCpuid(vm.supportedCpuid, { id: index, count })),
    );
    setMsrs(this.#fd, bootMsrs);
    if (vm.hasIrqchip) this.#connectLapic();
    this.#kickTarget = { runAddress: this.#run.address, pid: process.pid, tid: syscall("gettid") };
    installKickHandler();
  }

  /** On this thread. */
  run(): VmExit {
    for (;;) {
      const exit = this.takeExit(kvmTry(this.#fd, "KVM_RUN"));
      if (exit !== undefined) return exit;
    }
  }

  /** KVM_RUN, for a thread of rows; `takeExit` wants its result. */
  get runRow(): CallRow {
    return { call: "ioctl", args: [this.#fd.number, kvmIoctls.KVM_RUN, 0] };
  }

  /** Of its struct kvm_run. */
  get runAddress(): number {
    return this.#run.address;
  }

  /** From now on a kick goes to this thread. */
  runsOn(tid: number): void {
    this.#kickTarget = { ...this.#kickTarget, tid };
  }

  /** What KVM_RUN came back for; undefined: run again. */
  takeExit(result: number): VmExit | undefined {
    if (result === EINTR || result === EAGAIN)
      return this.#takeKick() ? { reason: "kicked" } : undefined;
    if (result < 0) return { reason: "failed", why: `KVM_RUN returned errno ${-result}` };
    const exit = this.#handle(this.#view.getUint32(kvm_run.exit_reason, true));
    if (exit !== undefined) return exit;
    return this.#handlers.stopReason === undefined ? undefined : { reason: "kicked" };
  }

  get kickTarget(): KickTarget {
    return this.#kickTarget;
  }

  kick(): void {
    kickVcpu(this.#kickTarget);
  }

  getRegisters(): { readonly general: GeneralRegisters; readonly system: SystemRegisters } {
    return {
      general: codec.decodeGeneral(this.#get("KVM_GET_REGS", kvm_regs.sizeBytes)),
      system: codec.decodeSystem(this.#get("KVM_GET_SREGS", kvm_sregs.sizeBytes)),
    };
  }

  setRegisters(registers: {
    readonly general?: Partial<GeneralRegisters>;
    readonly system?: Partial<SystemRegisters>;
  }): void {
    const now = this.getRegisters();
    if (registers.system !== undefined) {
      kvmCall(
        this.#fd,
        "KVM_SET_SREGS",
        codec.encodeSystem({ ...now.system, ...registers.system }),
      );
    }
    if (registers.general !== undefined) {
      kvmCall(
        this.#fd,
        "KVM_SET_REGS",
        codec.encodeGeneral({ ...now.general, ...registers.general }),
      );
    }
  }

  /** MSRs come after the LAPIC, whose mode decides what the deadline MSR means. */
  save(): VcpuState {
    this.#finishExit();
    const { mp_state } = kvm_mp_state.decode(this.#get("KVM_GET_MP_STATE", 4));
    const { general, system } = this.getRegisters();
    const xsaveCall = this.#vm.xsaveBytes > 4096 ? "KVM_GET_XSAVE2" : "KVM_GET_XSAVE";
    const xsave = this.#get(xsaveCall, this.#vm.xsaveBytes);
    const xcrs = kvm_xcrs.decode(this.#get("KVM_GET_XCRS", kvm_xcrs.sizeBytes));
    const debug = kvm_debugregs.decode(this.#get("KVM_GET_DEBUGREGS", kvm_debugregs.sizeBytes));
    const lapic = this.#vm.hasIrqchip ? this.#get("KVM_GET_LAPIC", 1024) : new Uint8Array(0);
    const msrs = getMsrs(this.#fd, listMsrs(this.#vm.system));
    return {
      general,
      system,
      mpState: codec.decodeMpState(mp_state),
      xsave,
      xcr0: firstXcr(xcrs),
      debug: [debug.db0, debug.db1, debug.db2, debug.db3, debug.dr6, debug.dr7],
      msrs: orderMsrs(msrs),
      lapic,
      events: codec.decodeEvents(this.#get("KVM_GET_VCPU_EVENTS", kvm_vcpu_events.sizeBytes)),
      tscKhz: kvmCall(this.#fd, "KVM_GET_TSC_KHZ"),
    };
  }

  restore(state: VcpuState): void {
    const [db0 = 0n, db1 = 0n, db2 = 0n, db3 = 0n, dr6 = 0n, dr7 = 0n] = state.debug;
    kvmCall(
      this.#fd,
      "KVM_SET_MP_STATE",
      kvm_mp_state.encode({ mp_state: codec.encodeMpState(state.mpState) }),
    );
    this.setRegisters(state);
    kvmCall(this.#fd, "KVM_SET_XCRS", encodeXcr0(state.xcr0));
    kvmCall(this.#fd, "KVM_SET_XSAVE", state.xsave.slice());
    kvmCall(this.#fd, "KVM_SET_DEBUGREGS", kvm_debugregs.encode({ db0, db1, db2, db3, dr6, dr7 }));
    if (this.#vm.hasIrqchip) kvmCall(this.#fd, "KVM_SET_LAPIC", state.lapic.slice());
    restoreMsrs(this.#fd, state.msrs);
    kvmCall(this.#fd, "KVM_SET_VCPU_EVENTS", codec.encodeEvents(state.events));
    // Tells the guest's watchdogs that time stood still; refused when it has no kvm-clock.
    kvmTry(this.#fd, "KVM_KVMCLOCK_CTRL");
  }

  [Symbol.dispose](): void {
    this.#run[Symbol.dispose]();
    this.#fd.close();
  }

  #handle(reason: number): VmExit | undefined {
    this.exits.set(reason, (this.exits.get(reason) ?? 0) + 1);
    switch (reason) {
      case exitReasons.KVM_EXIT_IO:
        this.#portAccess();
        return undefined;
      case exitReasons.KVM_EXIT_MMIO:
        this.#memoryAccess();
        return undefined;
      case exitReasons.KVM_EXIT_INTR:
      case exitReasons.KVM_EXIT_IRQ_WINDOW_OPEN:
        return undefined;
      case exitReasons.KVM_EXIT_HLT:
        return { reason: "halt" };
      case exitReasons.KVM_EXIT_SHUTDOWN:
        return { reason: "shutdown" };
      case exitReasons.KVM_EXIT_FAIL_ENTRY: {
        const why = this.#view.getBigUint64(kvm_run.hardware_entry_failure_reason, true);
        return {
          reason: "failed",
          why: `the processor refused the guest's state (0x${why.toString(16)})`,
        };
      }
      case exitReasons.KVM_EXIT_INTERNAL_ERROR: {
        const suberror = this.#view.getUint32(kvm_run.suberror, true);
        const what = suberror === 1 ? "KVM cannot emulate the guest's instruction" : "KVM gave up";
        return { reason: "failed", why: `${what} (internal error ${suberror})` };
      }
      default:
        return { reason: "failed", why: `unexpected KVM exit ${reason}` };
    }
  }

  /** INS and OUTS come as `count` accesses of `size` bytes to one port. */
  #portAccess(): void {
    const [IN] = [0];
    const direction = this.#view.getUint8(kvm_run.io_direction);
    const size = this.#view.getUint8(kvm_run.io_size);
    const port = this.#view.getUint16(kvm_run.io_port, true);
    const count = this.#view.getUint32(kvm_run.io_count, true);
    const start = Number(this.#view.getBigUint64(kvm_run.io_data_offset, true));
    for (let i = 0; i < count; i++) {
      const data = this.#run.bytes.subarray(start + i * size, start + (i + 1) * size);
      if (direction === IN) this.#handlers.pio.readBytes(port, data);
      else this.#handlers.pio.writeBytes(port, data);
    }
  }

  #memoryAccess(): void {
    const address = Number(this.#view.getBigUint64(kvm_run.mmio_phys_addr, true));
    const length = Math.min(8, this.#view.getUint32(kvm_run.mmio_len, true));
    const data = this.#run.bytes.subarray(kvm_run.mmio_data, kvm_run.mmio_data + length);
    if (this.#view.getUint8(kvm_run.mmio_is_write) !== 0)
      this.#handlers.mmio.writeBytes(address, data);
    else this.#handlers.mmio.readBytes(address, data);
  }

  /** A kick was meant when `immediate_exit` is set; other signals are the engine's. */
  #takeKick(): boolean {
    const kicked = this.#run.bytes[kvm_run.immediate_exit] !== 0;
    this.#run.bytes[kvm_run.immediate_exit] = 0;
    return kicked;
  }

  /** An exit for reading completes inside the next KVM_RUN only: enter with immediate_exit set. */
  #finishExit(): void {
    this.#run.bytes[kvm_run.immediate_exit] = 1;
    kvmTry(this.#fd, "KVM_RUN");
    this.#run.bytes[kvm_run.immediate_exit] = 0;
  }

  /** As firmware leaves it: LINT0 is ExtINT, LINT1 is NMI. Intel SDM vol. 3A §11.5.1. */
  #connectLapic(): void {
    const lapic = this.#get("KVM_GET_LAPIC", 1024);
    const view = new DataView(lapic.buffer);
    const [LVT_LINT0, LVT_LINT1] = [0x350, 0x360];
    const [EXT_INT, NMI] = [0x700, 0x400];
    view.setUint32(LVT_LINT0, EXT_INT, true);
    view.setUint32(LVT_LINT1, NMI, true);
    kvmCall(this.#fd, "KVM_SET_LAPIC", lapic);
  }

  #get(name: Parameters<typeof kvmCall>[1], sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    kvmCall(this.#fd, name, bytes);
    return bytes;
  }
}

function firstXcr(raw: { readonly xcrs: Uint8Array }): bigint {
  return new DataView(raw.xcrs.buffer, raw.xcrs.byteOffset).getBigUint64(8, true);
}

function encodeXcr0(value: bigint): Uint8Array {
  const xcrs = new Uint8Array(16); // struct kvm_xcr {xcr u32, reserved u32, value u64}
  new DataView(xcrs.buffer).setBigUint64(8, value, true);
  return kvm_xcrs.encode({ nr_xcrs: 1, xcrs });
}

/** The TSC before the deadline that is compared with it. */
function orderMsrs<T extends readonly [number, bigint]>(msrs: readonly T[]): readonly T[] {
  const rank = (index: number) => (index === IA32_TSC ? 0 : index === IA32_TSC_DEADLINE ? 2 : 1);
  return [...msrs].sort((a, b) => rank(a[0]) - rank(b[0]));
}
