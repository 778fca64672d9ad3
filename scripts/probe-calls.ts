/** How the probe's machine code makes system calls and reaches its data (probe-x86-64.ts). */
import { type SyscallName, syscallsX86_64 } from "../linux/index.ts";
import { type Assembler, Code, Register as R } from "./assembler.ts";

/** Where things lie in the data segment, in bytes from r15. */
export const data = {
  time: 0,
  stamp: 16,
  cursor: 24,
  digits: 32,
  digitsEnd: 56,
  pipeTo: 64,
  pipeFrom: 72,
  child: 80,
  fdA: 88,
  fdB: 96,
  listener: 104,
  address: 112,
  addressLength: 128,
  one: 136,
  status: 144,
  vector: 152,
  exitWord: 176,
  nap: 184,
  byte: 200,
  counter: 208,
  last: 216,
  best: 224,
  each: 232,
  batches: 240,
  line: 256,
  path: 512,
  stat: 8192,
  request: 8448,
  peer: 8512,
  utsname: 8576,
  source: 0x1_0000,
  target: 0x11_0000,
  sizeBytes: 0x21_0000,
} as const;

const argumentRegisters = [R.RDI, R.RSI, R.RDX, R.R10, R.R8, R.R9];

export type Operand =
  | number
  | { readonly register: R }
  /** Address of a place in the data segment. */
  | { readonly at: number }
  /** Its content, 8 bytes, or 4. */
  | { readonly load: number; readonly width?: 4 }
  /** Address of the argument of this number. */
  | { readonly argument: number };

/** A system call; rcx, r11 and the registers of its arguments are lost. */
export function sys(a: Assembler, name: SyscallName, ...operands: readonly Operand[]): void {
  operands.forEach((operand, index) => {
    const register = argumentRegisters[index] ?? R.RDI;
    if (typeof operand === "number") set(a, register, operand);
    else if ("register" in operand) {
      if (operand.register !== register) a.rr(Code.Mov_rm64_r64, register, operand.register);
    } else if ("at" in operand) address(a, register, operand.at);
    else if ("argument" in operand) load(a, register, R.RBX, 8 + 8 * operand.argument);
    else if (operand.width === undefined) load(a, register, R.R15, operand.load);
    else a.rm(Code.Movsxd_r64_rm32, register, { base: R.R15, displacement: operand.load });
  });
  set(a, R.RAX, syscallsX86_64[name]);
  a.op(Code.Syscall);
}

/** As `sys`, and the workload fails when the call does. */
export function must(a: Assembler, name: SyscallName, ...operands: readonly Operand[]): void {
  sys(a, name, ...operands);
  a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
  a.to(Code.Js_rel32_64, "give-up");
}

export function set(a: Assembler, register: R, value: number): void {
  a.ri(Code.Mov_rm64_imm32, register, value);
}

export function address(a: Assembler, register: R, offset: number): void {
  a.rm(Code.Lea_r64_m, register, { base: R.R15, displacement: offset });
}

export function load(a: Assembler, register: R, base: R, displacement: number): void {
  a.rm(Code.Mov_r64_rm64, register, { base, displacement });
}

export function store(a: Assembler, offset: number, register: R): void {
  a.mr(Code.Mov_rm64_r64, { base: R.R15, displacement: offset }, register);
}

/** Runs `body` `count` times; the count is kept in memory, so every register is the body's. */
export function times(a: Assembler, label: string, count: number, body: () => void): void {
  set(a, R.RAX, count);
  store(a, data.counter, R.RAX);
  a.label(label);
  body();
  a.rm(Code.Mov_r64_rm64, R.RAX, { base: R.R15, displacement: data.counter });
  a.r(Code.Dec_rm64, R.RAX);
  store(a, data.counter, R.RAX);
  a.to(Code.Jne_rel32_64, label);
}
