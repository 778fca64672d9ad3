/**
 * Machine code of the syscall-program interpreter for x86-64 (linux/interpreter-layout.ts has the
 * layout of what it reads).
 *
 * Registers: rbx block, r12 current row, r13 last result. Everything else is scratch, so a child
 * made by clone, on its own stack or on its parent's, goes on with the next row.
 */
import { header, kind, operation, row } from "../linux/interpreter-layout.ts";
import { syscallsX86_64 } from "../linux/syscalls.ts";
import { Assembler, Code, Register as R } from "./assembler.ts";

const saved = [R.RBX, R.RBP, R.R12, R.R13, R.R14, R.R15];
/** Kernel's order of arguments; syscall(2), "Architecture calling conventions". */
const argumentRegisters = [R.RDI, R.RSI, R.RDX, R.R10, R.R8, R.R9];

/** Stands for the block's address until an ELF file is written; must not be encodable shorter. */
const placeholder = 0x1122_3344_5566_7788n;
const opcodeBytes = 2; // REX.W and the opcode of mov r64, imm64

export function assembleInterpreter() {
  const a = new Assembler();
  assembleSyscall(a);
  assembleEntry(a);
  assembleArguments(a);
  assembleResult(a);
  assembleOperations(a);
  assembleFreeze(a);
  assembleStart(a);
  const { code, labels } = a.encode();
  const start = labels.get("start") ?? 0;
  return { code, labels: new Map([...labels, ["block", start + opcodeBytes]]) };
}

/** syscall(number, a, b, c, d, e, f) for the System V ABI; returns the kernel's -errno as it is. */
function assembleSyscall(a: Assembler): void {
  a.label("syscall");
  a.rr(Code.Mov_rm64_r64, R.RAX, R.RDI);
  a.rr(Code.Mov_rm64_r64, R.RDI, R.RSI);
  a.rr(Code.Mov_rm64_r64, R.RSI, R.RDX);
  a.rr(Code.Mov_rm64_r64, R.RDX, R.RCX);
  a.rr(Code.Mov_rm64_r64, R.R10, R.R8);
  a.rr(Code.Mov_rm64_r64, R.R8, R.R9);
  a.rm(Code.Mov_r64_rm64, R.R9, { base: R.RSP, displacement: 8 });
  a.op(Code.Syscall);
  a.op(Code.Retnq);
}

/** interpret(block): runs from the first row; returns what `end` says or an -errno. */
function assembleEntry(a: Assembler): void {
  a.label("interpret");
  for (const register of saved) a.r(Code.Push_r64, register);
  a.rr(Code.Mov_rm64_r64, R.RBX, R.RDI);
  a.rm(Code.Mov_r32_rm32, R.R12D, { base: R.RBX, displacement: header.firstRow });
  a.rr(Code.Add_rm64_r64, R.R12, R.RBX);
  a.rr(Code.Xor_rm32_r32, R.R13D, R.R13D);
}

/** Evaluates the six arguments, last one first, onto the stack, and pops them into place. */
function assembleArguments(a: Assembler): void {
  a.label("row");
  a.rm(Code.Mov_r32_rm32, R.EBP, { base: R.R12, displacement: row.kinds });
  a.ri(Code.Mov_r32_imm32, R.R14D, 5);
  a.label("argument");
  a.rm(Code.Lea_r32_m, R.ECX, { base: R.None, index: R.R14, scale: 4 });
  a.rr(Code.Mov_rm32_r32, R.EAX, R.EBP);
  a.rr(Code.Shr_rm32_CL, R.EAX, R.CL);
  a.ri(Code.And_rm32_imm8, R.EAX, 15);
  a.rm(Code.Mov_r64_rm64, R.RDX, { base: R.R12, index: R.R14, scale: 8, displacement: row.args });
  branchOn(a, R.EAX, [
    [kind.immediate, "push"],
    [kind.data, "data"],
    [kind.load64, "load64"],
    [kind.load32, "load32"],
  ]);
  a.rr(Code.Mov_rm64_r64, R.RDX, R.R13); // kind.last
  a.to(Code.Jmp_rel32_64, "push");
  a.label("data");
  a.rr(Code.Add_rm64_r64, R.RDX, R.RBX);
  a.to(Code.Jmp_rel32_64, "push");
  a.label("load64");
  a.rm(Code.Mov_r64_rm64, R.RDX, { base: R.RBX, index: R.RDX });
  a.to(Code.Jmp_rel32_64, "push");
  a.label("load32");
  a.rm(Code.Movsxd_r64_rm32, R.RDX, { base: R.RBX, index: R.RDX });
  a.label("push");
  a.r(Code.Push_r64, R.RDX);
  a.r(Code.Dec_rm32, R.R14D);
  a.to(Code.Jns_rel32_64, "argument");
  for (const register of argumentRegisters) a.r(Code.Pop_r64, register);
  a.rm(Code.Mov_r32_rm32, R.EAX, { base: R.R12, displacement: row.number });
  a.rr(Code.Test_rm32_r32, R.EAX, R.EAX);
  a.to(Code.Js_rel32_64, "operation");
  a.op(Code.Syscall);
}

/** Keeps the result, and decides where to go on. */
function assembleResult(a: Assembler): void {
  // A child that shares this memory must not write over what its parent got: last is its own.
  a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
  a.to(Code.Jne_rel32_64, "keep");
  a.mi(Code.Cmp_rm32_imm8, { base: R.R12, displacement: row.number }, syscallsX86_64.clone);
  a.to(Code.Je_rel32_64, "born");
  a.label("keep");
  a.mr(Code.Mov_rm64_r64, { base: R.R12, displacement: row.result }, R.RAX);
  a.label("born");
  a.rr(Code.Mov_rm64_r64, R.R13, R.RAX);
  a.ri(Code.Cmp_rm64_imm32, R.RAX, -4095);
  a.to(Code.Jb_rel32_64, "next");
  a.rr(Code.Mov_rm32_r32, R.ECX, R.EAX);
  a.r(Code.Neg_rm32, R.ECX);
  a.rm(Code.Mov_r64_rm64, R.RDX, { base: R.R12, displacement: row.ignore });
  a.label("ignored");
  a.rr(Code.Test_rm8_r8, R.DL, R.DL);
  a.to(Code.Je_rel32_64, "failed");
  a.rr(Code.Cmp_rm8_r8, R.CL, R.DL);
  a.to(Code.Je_rel32_64, "next");
  a.ri(Code.Shr_rm64_imm8, R.RDX, 8);
  a.to(Code.Jmp_rel32_64, "ignored");
  a.label("failed");
  a.rr(Code.Mov_rm64_r64, R.RDX, R.R12);
  a.rr(Code.Sub_rm64_r64, R.RDX, R.RBX);
  a.mr(Code.Mov_rm32_r32, { base: R.RBX, displacement: header.failedRow }, R.EDX);
  a.mr(Code.Mov_rm32_r32, { base: R.RBX, displacement: header.errno }, R.ECX);
  a.rm(Code.Mov_r32_rm32, R.EDX, { base: R.R12, displacement: row.onError });
  a.rr(Code.Test_rm32_r32, R.EDX, R.EDX);
  a.to(Code.Je_rel32_64, "return");
  a.label("goto");
  a.rm(Code.Lea_r64_m, R.R12, { base: R.RBX, index: R.RDX });
  a.to(Code.Jmp_rel32_64, "row");
  a.label("value");
  a.mr(Code.Mov_rm64_r64, { base: R.R12, displacement: row.result }, R.RAX);
  a.rr(Code.Mov_rm64_r64, R.R13, R.RAX);
  a.label("next");
  a.ri(Code.Add_rm64_imm8, R.R12, row.size);
  a.to(Code.Jmp_rel32_64, "row");
  a.label("return");
  for (const register of [...saved].reverse()) a.r(Code.Pop_r64, register);
  a.op(Code.Retnq);
}

function assembleOperations(a: Assembler): void {
  a.label("operation");
  a.ri(Code.And_rm32_imm32, R.EAX, 0x7fff_ffff);
  branchOn(a, R.EAX, [
    [operation.jump, "jump"],
    [operation.store, "store"],
    [operation.load, "load"],
    [operation.compute, "compute"],
    [operation.run, "run"],
    [operation.copy, "copy"],
    [operation.resume, "resume"],
  ]);
  a.rr(Code.Mov_rm64_r64, R.RAX, R.RDI); // operation.end
  a.to(Code.Jmp_rel32_64, "return");
  assembleJump(a);
  assembleMemory(a);
  assembleCompute(a);
  a.label("run");
  a.to(Code.Call_rel32_64, "interpret");
  a.to(Code.Jmp_rel32_64, "value");
  a.label("copy"); // rdi target, rsi source, rdx length
  a.rr(Code.Mov_rm64_r64, R.RCX, R.RDX);
  a.repeatMoveBytes();
  a.to(Code.Jmp_rel32_64, "next");
}

/** rdi, rsi: what is compared, signed; rdx: index into `comparisons`, or 7 for an unconditional jump. */
function assembleJump(a: Assembler): void {
  const conditions = [
    Code.Je_rel32_64,
    Code.Jne_rel32_64,
    Code.Jl_rel32_64,
    Code.Jle_rel32_64,
    Code.Jg_rel32_64,
    Code.Jge_rel32_64,
  ];
  a.label("jump");
  a.rr(Code.Mov_rm64_r64, R.RAX, R.RDX);
  a.rm(Code.Mov_r32_rm32, R.EDX, { base: R.R12, displacement: row.target });
  branchOn(
    a,
    R.EAX,
    [...conditions.keys()].map((index) => [index, `if${index}`] as const),
  );
  a.ri(Code.Cmp_rm32_imm8, R.EAX, 6);
  a.to(Code.Jne_rel32_64, "goto");
  a.rr(Code.Test_rm64_r64, R.RDI, R.RSI);
  a.to(Code.Jne_rel32_64, "goto");
  a.to(Code.Jmp_rel32_64, "next");
  conditions.forEach((code, index) => {
    a.label(`if${index}`);
    a.rr(Code.Cmp_rm64_r64, R.RDI, R.RSI);
    a.to(code, "goto");
    a.to(Code.Jmp_rel32_64, "next");
  });
}

/** store: rdi address, rsi value, rdx width. load: rdi address, rsi width. */
function assembleMemory(a: Assembler): void {
  const memory = { base: R.RDI };
  a.label("store");
  branchOn(a, R.EDX, [
    [1, "store1"],
    [2, "store2"],
    [4, "store4"],
  ]);
  for (const [width, code, register] of [
    [8, Code.Mov_rm64_r64, R.RSI],
    [1, Code.Mov_rm8_r8, R.SIL],
    [2, Code.Mov_rm16_r16, R.SI],
    [4, Code.Mov_rm32_r32, R.ESI],
  ] as const) {
    if (width !== 8) a.label(`store${width}`);
    a.mr(code, memory, register);
    a.to(Code.Jmp_rel32_64, "next");
  }
  a.label("load");
  branchOn(a, R.ESI, [
    [1, "read1"],
    [2, "read2"],
    [4, "read4"],
  ]);
  for (const [width, code, register] of [
    [8, Code.Mov_r64_rm64, R.RAX],
    [1, Code.Movzx_r32_rm8, R.EAX],
    [2, Code.Movzx_r32_rm16, R.EAX],
    [4, Code.Mov_r32_rm32, R.EAX],
  ] as const) {
    if (width !== 8) a.label(`read${width}`);
    a.rm(code, register, memory);
    a.to(Code.Jmp_rel32_64, "value");
  }
}

/** rdi, rsi: operands; rdx: index into `operations`. */
function assembleCompute(a: Assembler): void {
  a.label("compute");
  a.rr(Code.Mov_rm64_r64, R.RAX, R.RDI);
  a.rr(Code.Mov_rm64_r64, R.RCX, R.RSI);
  const steps: ((a: Assembler) => void)[] = [
    () => a.rr(Code.Add_rm64_r64, R.RAX, R.RCX),
    () => a.rr(Code.Sub_rm64_r64, R.RAX, R.RCX),
    () => a.rr(Code.Imul_r64_rm64, R.RAX, R.RCX),
    () => a.rr(Code.And_rm64_r64, R.RAX, R.RCX),
    () => a.rr(Code.Or_rm64_r64, R.RAX, R.RCX),
    () => a.rr(Code.Xor_rm64_r64, R.RAX, R.RCX),
    () => a.rr(Code.Shl_rm64_CL, R.RAX, R.CL),
    () => a.rr(Code.Shr_rm64_CL, R.RAX, R.CL),
  ];
  branchOn(
    a,
    R.EDX,
    steps.slice(1).map((_, index) => [index + 1, `compute${index + 1}`] as const),
  );
  steps.forEach((step, index) => {
    if (index > 0) a.label(`compute${index}`);
    step(a);
    a.to(Code.Jmp_rel32_64, "value");
  });
}

/** A chain of compare-and-jump: a dozen predicted branches cost less than the system call they serve. */
function branchOn(a: Assembler, register: R, cases: readonly (readonly [number, string])[]): void {
  for (const [value, label] of cases) {
    a.ri(Code.Cmp_rm32_imm8, register, value);
    a.to(Code.Je_rel32_64, label);
  }
}

/** What the System V ABI lets a function rely on; the place where it goes on comes behind them. */
const kept = [R.RBX, R.RBP, R.R12, R.R13, R.R14, R.R15, R.RSP];

/**
 * freeze(registers, fd): writes what `resume` needs into 64 bytes, tells them to the descriptor, and
 * waits for ever. In a process that resumes there, it returns 0.
 */
function assembleFreeze(a: Assembler): void {
  const [write, pause] = [1, 34];
  const registers = 8 * (kept.length + 1);
  a.label("freeze");
  a.r(Code.Pop_r64, R.RAX);
  kept.forEach((register, index) => {
    a.mr(Code.Mov_rm64_r64, { base: R.RDI, displacement: 8 * index }, register);
  });
  a.mr(Code.Mov_rm64_r64, { base: R.RDI, displacement: 8 * kept.length }, R.RAX);
  a.rr(Code.Mov_rm64_r64, R.RAX, R.RDI);
  a.rr(Code.Mov_rm64_r64, R.RDI, R.RSI);
  a.rr(Code.Mov_rm64_r64, R.RSI, R.RAX);
  a.ri(Code.Mov_r32_imm32, R.EDX, registers);
  a.ri(Code.Mov_r32_imm32, R.EAX, write);
  a.op(Code.Syscall);
  a.label("frozen");
  a.ri(Code.Mov_r32_imm32, R.EAX, pause);
  a.op(Code.Syscall);
  a.to(Code.Jmp_rel32_64, "frozen");
  a.label("resume"); // rdi: the 64 bytes
  a.rm(Code.Mov_r64_rm64, R.RDX, { base: R.RDI, displacement: 8 * kept.length });
  kept.forEach((register, index) => {
    a.rm(Code.Mov_r64_rm64, register, { base: R.RDI, displacement: 8 * index });
  });
  a.r(Code.Push_r64, R.RDX);
  a.rr(Code.Xor_rm32_r32, R.EAX, R.EAX);
  a.op(Code.Retnq);
}

/**
 * Entry of a static program (linux/elf.ts): runs the block whose address is patched in behind the
 * label "block", and exits with what it ends with. System V ABI, "Process Initialization": rsp
 * points at argc.
 */
function assembleStart(a: Assembler): void {
  const exitGroup = 231;
  a.label("start");
  a.ri64(Code.Mov_r64_imm64, R.RDI, placeholder);
  a.mr(Code.Mov_rm64_r64, { base: R.RDI, displacement: header.stack }, R.RSP);
  a.to(Code.Call_rel32_64, "interpret");
  a.rr(Code.Mov_rm32_r32, R.EDI, R.EAX);
  a.ri(Code.Mov_r32_imm32, R.EAX, exitGroup);
  a.op(Code.Syscall);
}
