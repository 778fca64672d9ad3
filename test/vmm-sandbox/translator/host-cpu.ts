/**
 * The host's own processor as an oracle: runs one instruction natively on many register states.
 *
 * Machine code at a fixed low address loads a state, runs the instruction, stores the state and
 * goes on with the next one, so a batch costs one foreign call.
 *
 *   state, 0x340 bytes: 16 general registers · +0x80 RFLAGS · +0x100 x87 and XMM as FXSAVE has
 *   them · +0x300 64 bytes of data, copied to `addresses.data` before and back after
 */
import type { FfiDriver } from "../../../linux/ffi.ts";

/** Below 2 GiB, for absolute addresses, and above where a program's heap can be. */
export const addresses = { code: 0x6000_0000, data: 0x6800_0000 } as const;
export const stateBytes = 0x340;
export const offsets = { flags: 0x80, fx: 0x100, xmm: 0x1a0, data: 0x300, dataBytes: 64 } as const;
export const maxBatch = 256;

export const variables = 0x7000_0000;
/** Where the next state is, and how many are left. */
export const [current, count] = [variables, variables + 8] as const;
const [savedRsp, savedRax] = [variables + 16, variables + 24] as const;
const defaultMxcsr = variables + 32;
/** Where a signal's handler goes on. */
export const afterFault = variables + 40;
const states = variables + 0x1000;
/** The instruction under test starts here, so that RIP-relative addresses agree. */
export const instructionOffset = 0x400;

export class Code {
  readonly bytes: number[] = [];
  emit(...bytes: number[]): this {
    this.bytes.push(...bytes);
    return this;
  }
  disp(value: number): this {
    return this.emit(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255);
  }
  /** mov register, [rax + offset] (0x8b) or the store (0x89) */
  move(opcode: 0x8b | 0x89, register: number, offset: number): this {
    return this.emit(0x48 | ((register >> 3) << 2), opcode, 0x80 | ((register & 7) << 3)).disp(
      offset,
    );
  }
  /** The same with an absolute address. */
  absolute(opcode: 0x8b | 0x89, register: number, address: number): this {
    const modRm = 0x04 | ((register & 7) << 3);
    return this.emit(0x48 | ((register >> 3) << 2), opcode, modRm, 0x25).disp(address);
  }
  /** movdqu xmm, [rax + offset] (0x6f) or the store (0x7f) */
  vector(opcode: 0x6f | 0x7f, register: number, offset: number): this {
    const modRm = 0x80 | ((register & 7) << 3);
    return this.emit(0xf3, 0x40 | ((register >> 3) << 2), 0x0f, opcode, modRm).disp(offset);
  }
  vectorAbsolute(opcode: 0x6f | 0x7f, register: number, address: number): this {
    return this.emit(0xf3, 0x0f, opcode, 0x04 | (register << 3), 0x25).disp(address);
  }
}

function prologue(): Code {
  const code = new Code();
  // push rbx, rbp, r12…r15
  code.emit(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57);
  code.absolute(0x89, 4, savedRsp);
  return code;
}

function loadState(code: Code): void {
  code.absolute(0x8b, 0, current);
  for (let i = 0; i < 4; i++) {
    code.vector(0x6f, 0, offsets.data + i * 16);
    code.vectorAbsolute(0x7f, 0, addresses.data + i * 16);
  }
  code.emit(0x66, 0x0f, 0xef, 0xc0); // pxor xmm0, xmm0
  for (let i = 0; i < 4; i++) code.vectorAbsolute(0x7f, 0, addresses.data + 0xfc0 + i * 16);
  code.emit(0x48, 0x0f, 0xae, 0x88).disp(offsets.fx); // fxrstor64 [rax + fx]
  // push [rax + flags]; popfq
  code.emit(0xff, 0xb0).disp(offsets.flags).emit(0x9d);
  for (let i = 1; i < 16; i++) code.move(0x8b, i, i * 8);
  code.move(0x8b, 0, 0);
}

function storeState(code: Code, loop: number): void {
  code.absolute(0x89, 0, savedRax).absolute(0x8b, 0, current);
  for (let i = 1; i < 16; i++) code.move(0x89, i, i * 8);
  code.absolute(0x8b, 4, savedRsp);
  // pushfq; pop [rax + flags]
  code.emit(0x9c, 0x8f, 0x80).disp(offsets.flags);
  code.absolute(0x8b, 1, savedRax).move(0x89, 1, 0);
  code.emit(0x48, 0x0f, 0xae, 0x80).disp(offsets.fx); // fxsave64 [rax + fx]
  code.emit(0xdb, 0xe3); // fninit: JavaScript must not see our control word
  code.emit(0x0f, 0xae, 0x14, 0x25).disp(defaultMxcsr); // ldmxcsr
  for (let i = 0; i < 4; i++) {
    code.vectorAbsolute(0x6f, 0, addresses.data + i * 16);
    code.vector(0x7f, 0, offsets.data + i * 16);
  }
  nextState(code, loop);
}

/** Goes on with the next state, or returns. From a signal's handler too: it never returns there. */
function nextState(code: Code, loop: number): void {
  code.absolute(0x8b, 4, savedRsp);
  code.emit(0x6a, 0x02, 0x9d); // push 2; popfq: DF and AC are not for JavaScript
  code.emit(0x48, 0x81, 0x04, 0x25).disp(current).disp(stateBytes); // add qword [current]
  code.emit(0x48, 0xff, 0x0c, 0x25).disp(count); // dec qword [count]
  const here = code.bytes.length + 6;
  code.emit(0x0f, 0x85).disp(loop - here); // jnz
  code.emit(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

export async function openDriver(): Promise<FfiDriver> {
  if ("bun" in process.versions) return (await import("../../../linux/bun.ffi.ts")).openBunDriver();
  return (await import("../../../linux/koffi.ffi.ts")).openKoffiDriver();
}

/** System calls by number, as no driver offers them. */
export function systemCallOf(driver: FfiDriver): SystemCall {
  const page = driver.mapAnonymous(4096);
  // mov rax, rdi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; mov r10, r8; mov r8, r9;
  // mov r9, [rsp + 8]; syscall; ret
  const shuffle = [
    0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4d,
    0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3,
  ];
  driver.view(page, 4096).set(shuffle);
  driver.makeExecutable(page, 4096);
  return driver.functionAt(page);
}

type SystemCall = ReturnType<FfiDriver["functionAt"]>;

let opened: HostCpu | undefined;

export class HostCpu {
  private readonly code: Uint8Array;
  protected readonly variables: DataView;
  /** `maxBatch` states: fill them, call `run`, read them. */
  readonly states: Uint8Array;
  private readonly before: number;
  private readonly loop: number;
  private readonly call: () => void;
  protected readonly systemCall: SystemCall;
  private readonly driver: FfiDriver;

  protected constructor(driver: FfiDriver) {
    this.driver = driver;
    this.systemCall = systemCallOf(driver);
    this.code = this.mapFixed(addresses.code, 0x1000);
    this.mapFixed(addresses.data, 0x1000);
    const memory = this.mapFixed(variables, 0x1000 + maxBatch * stateBytes);
    this.variables = new DataView(memory.buffer, memory.byteOffset, 0x1000);
    this.variables.setUint32(32, 0x1f80, true);
    this.states = memory.subarray(0x1000);
    const code = prologue();
    this.loop = code.bytes.length;
    loadState(code);
    // The prologue ends where the instruction stands.
    this.before = instructionOffset - code.bytes.length;
    this.code.fill(0x90);
    this.code.set(code.bytes, this.before);
    const entry = driver.functionAt(addresses.code + this.before);
    this.call = () => entry(0, 0, 0, 0, 0, 0, 0);
  }

  /** Its memory has fixed addresses, so there is one in a process. */
  static async open(): Promise<HostCpu> {
    opened ??= new HostCpu(await openDriver());
    return opened;
  }

  /** mmap with a fixed address, by a system call of our own: the drivers choose theirs. */
  protected mapFixed(address: number, size: number, protection = 7): Uint8Array {
    // mmap; PROT_READ|WRITE|EXEC, MAP_PRIVATE|ANONYMOUS|FIXED_NOREPLACE
    const result = Number(this.systemCall(9, address, size, protection, 0x10_0022, -1, 0));
    if (result !== address) throw new Error(`Cannot map ${size} bytes at ${address}: ${result}`);
    return this.driver.view(address, size);
  }

  /** More code at an address of the code page. */
  protected install(address: number, bytes: readonly number[]): void {
    this.code.set(bytes, address - addresses.code);
  }

  /** Runs `instruction` on the first `batch` states, in place. It must not fault. */
  run(instruction: Uint8Array, batch: number): void {
    const tail = new Code();
    const start = instructionOffset + instruction.length;
    storeState(tail, this.before + this.loop - start);
    const next = new Code();
    const nextAt = start + tail.bytes.length;
    nextState(next, this.before + this.loop - nextAt);
    this.code.set(next.bytes, nextAt);
    this.variables.setBigUint64(afterFault - variables, BigInt(addresses.code + nextAt), true);
    this.code.set(instruction, instructionOffset);
    this.code.set(tail.bytes, start);
    this.variables.setBigUint64(0, BigInt(states), true);
    this.variables.setBigUint64(8, BigInt(batch), true);
    this.call();
  }
}
