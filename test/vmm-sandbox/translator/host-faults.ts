/**
 * The host's processor where instructions fault: a signal handler of our own writes down what the kernel
 * says (signal, address, trap number, error code, CR2, registers as they were) and goes on with the next
 * state. For a process of its own: while a batch runs, its handlers take the place of the engine's.
 */
import {
  addresses,
  afterFault,
  Code,
  count,
  HostCpu,
  maxBatch,
  openDriver,
  variables,
} from "./host-cpu.ts";

/** Behind the data page nothing is mapped, then one page that may only be read. */
export const readOnlyPage = addresses.data + 0x2000;
const handlerAt = addresses.code + 0xc00;
const stack = { at: 0x7100_0000, bytes: 0x1_0000 } as const;
const records = 0x7200_0000;
const nextRecord = variables + 48;
const actionAt = variables + 0x100;
const signals = [4, 5, 7, 8, 11] as const; // SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV

/** count, then as the kernel has them: siginfo_t's start, gregset_t, the FXSAVE image, data. */
const parts = { count: 0, siginfo: 8, registers: 40, fx: 224, data: 736 } as const;
const recordBytes = 800;

/** Places in gregset_t of RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15. <sys/ucontext.h> */
const places = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7] as const;
const [RIP, EFLAGS, ERR, TRAPNO, CR2] = [16, 17, 19, 20, 22] as const;

export interface HostFault {
  readonly signal: number;
  readonly address: bigint;
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: bigint;
  readonly rip: bigint;
  readonly flags: number;
  readonly registers: readonly bigint[];
  /** As FXSAVE stores it. */
  readonly fx: Uint8Array;
  readonly data: Uint8Array;
}

function handler(): Code {
  const code = new Code();
  code.emit(0x49, 0x89, 0xf1, 0x49, 0x89, 0xd2); // mov r9, rsi; mov r10, rdx
  code.absolute(0x8b, 7, nextRecord).absolute(0x8b, 0, count);
  code.emit(0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 0x08); // mov [rdi], rax; add rdi, 8
  const copy = (bytes: number): Code => code.emit(0xb9).disp(bytes).emit(0xf3, 0xa4); // rep movsb
  code.emit(0x4c, 0x89, 0xce); // mov rsi, r9
  copy(32);
  code.emit(0x49, 0x8d, 0x72, 0x28); // lea rsi, [r10 + 40]: uc_mcontext
  copy(184);
  code.emit(0x49, 0x8b, 0xb2).disp(224); // mov rsi, [r10 + 224]: fpregs
  copy(512);
  code.emit(0xbe).disp(addresses.data);
  copy(64);
  code.absolute(0x89, 7, nextRecord);
  return code.emit(0xff, 0x24, 0x25).disp(afterFault);
}

export class FaultingHost extends HostCpu {
  private records: Uint8Array = new Uint8Array();

  static override async open(): Promise<FaultingHost> {
    const host = new FaultingHost(await openDriver());
    // Read once, so that it is there: a first write to a page that is not would be "not present".
    host.mapFixed(readOnlyPage, 0x1000, 1).at(0);
    host.mapFixed(stack.at, stack.bytes);
    host.records = host.mapFixed(records, Math.ceil((maxBatch * recordBytes) / 4096) * 4096);
    host.install(handlerAt, handler().bytes);
    host.variables.setBigUint64(0x180, BigInt(stack.at), true); // stack_t
    host.variables.setBigUint64(0x190, BigInt(stack.bytes), true);
    host.systemCall(131, variables + 0x180, 0, 0, 0, 0, 0); // sigaltstack
    return host;
  }

  /** Runs the states; what faulted, by its place in the batch. */
  runFaulting(instruction: Uint8Array, batch: number): ReadonlyMap<number, HostFault> {
    this.variables.setBigUint64(nextRecord - variables, BigInt(records), true);
    for (const [i, signal] of signals.entries()) {
      const [act, old] = [actionAt, variables + 0x200 + i * 32];
      const SA_SIGINFO_RESTORER_ONSTACK_NODEFER = 0x4c00_0004;
      const action = [handlerAt, SA_SIGINFO_RESTORER_ONSTACK_NODEFER, handlerAt, 0];
      for (const [at, word] of action.entries())
        this.variables.setBigUint64(act - variables + at * 8, BigInt(word), true);
      this.systemCall(13, signal, act, old, 8, 0, 0); // rt_sigaction
    }
    this.run(instruction, batch);
    for (const [i, signal] of signals.entries())
      this.systemCall(13, signal, variables + 0x200 + i * 32, 0, 8, 0, 0);
    const end = Number(this.variables.getBigUint64(nextRecord - variables, true)) - records;
    const faults = new Map<number, HostFault>();
    for (let at = 0; at < end; at += recordBytes) {
      const record = this.records.slice(at, at + recordBytes);
      const left = Number(new DataView(record.buffer).getBigUint64(parts.count, true));
      faults.set(batch - left, readRecord(record));
    }
    return faults;
  }
}

function readRecord(record: Uint8Array): HostFault {
  const view = new DataView(record.buffer);
  const register = (place: number): bigint => view.getBigUint64(parts.registers + place * 8, true);
  return {
    signal: view.getInt32(parts.siginfo, true),
    address: view.getBigUint64(parts.siginfo + 16, true),
    vector: Number(register(TRAPNO)),
    errorCode: Number(register(ERR)),
    cr2: register(CR2),
    rip: register(RIP),
    flags: Number(register(EFLAGS)),
    registers: places.map(register),
    fx: record.slice(parts.fx, parts.data),
    data: record.slice(parts.data),
  };
}
