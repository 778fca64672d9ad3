/**
 * Machine code of the probe that `compare` runs in every world (compare/probe.ts says how it is
 * asked and what it answers). Loops that last a given time, in real instructions: rows of a
 * syscall program would measure their interpreter.
 *
 * Registers that last: rbx arguments as the kernel left them (argc, argv…), rbp letter of the
 * workload, r12 time for each in nanoseconds, r13 when it began, r14 operations done, r15 data.
 */
import { BLOCK_ADDRESS } from "../linux/index.ts";
import { Assembler, Code, Register as R } from "./assembler.ts";
import { address, data, load, set, store, sys } from "./probe-calls.ts";
import { assembleServer } from "./probe-network.ts";
import { workloads } from "./probe-workloads.ts";

/** Ways to be started, by the first letter of the first argument. */
const modes = { stamp: "s", hold: "h", work: "w", exit: "x", serve: "l" } as const;

const CLOCK_MONOTONIC = 1;
/** The fastest of fewer would say little, where one takes longer than the time that is given. */
const MIN_BATCHES = 3;
const UTS_FIELD_BYTES = 65;
const NAP_NS = 20_000_000;

export function assembleProbe() {
  const a = new Assembler();
  assembleStart(a);
  assembleWork(a);
  for (const { letter, setup, batch } of workloads) {
    a.label(`setup-${letter}`);
    setup?.(a);
    set(a, R.RAX, 0);
    a.op(Code.Retnq);
    a.label(`batch-${letter}`);
    batch(a);
    a.op(Code.Retnq);
  }
  a.label("give-up"); // with the error in rax, from a setup or a batch
  a.op(Code.Retnq);
  assembleKernel(a);
  assembleServer(a);
  assembleText(a);
  const { code, labels } = a.encode();
  return { code, start: labels.get("start") ?? 0, dataBytes: data.sizeBytes };
}

function assembleStart(a: Assembler): void {
  a.label("start");
  a.rr(Code.Mov_rm64_r64, R.RBX, R.RSP);
  set(a, R.R15, BLOCK_ADDRESS);
  a.to(Code.Call_rel32_64, "now");
  store(a, data.stamp, R.RAX);
  address(a, R.RAX, data.line);
  store(a, data.cursor, R.RAX);
  load(a, R.RAX, R.RBX, 0);
  a.ri(Code.Cmp_rm64_imm8, R.RAX, 2);
  a.to(Code.Jb_rel32_64, "usage");
  load(a, R.RSI, R.RBX, 16);
  a.rm(Code.Movzx_r32_rm8, R.EBP, { base: R.RSI });
  a.ri(Code.Cmp_rm8_imm8, R.BPL, modes.exit.charCodeAt(0));
  a.to(Code.Je_rel32_64, "exit");
  a.ri(Code.Cmp_rm8_imm8, R.BPL, modes.serve.charCodeAt(0));
  a.to(Code.Je_rel32_64, "serve");
  letter(a, modes.stamp);
  a.to(Code.Call_rel32_64, "space");
  load(a, R.RAX, R.R15, data.stamp);
  a.to(Code.Call_rel32_64, "number");
  a.to(Code.Call_rel32_64, "flush");
  a.ri(Code.Cmp_rm8_imm8, R.BPL, modes.hold.charCodeAt(0));
  a.to(Code.Je_rel32_64, "hold");
  a.ri(Code.Cmp_rm8_imm8, R.BPL, modes.work.charCodeAt(0));
  a.to(Code.Je_rel32_64, "work");
  a.label("exit");
  sys(a, "exit_group", 0);
  a.label("usage");
  sys(a, "exit_group", 2);
  a.label("hold"); // until the file is gone
  a.to(Code.Call_rel32_64, "kernel");
  set(a, R.RAX, NAP_NS);
  store(a, data.nap + 8, R.RAX);
  sys(a, "nanosleep", { at: data.nap }, 0);
  sys(a, "access", { argument: 2 }, 0);
  a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
  a.to(Code.Je_rel32_64, "hold");
  a.to(Code.Jmp_rel32_64, "exit");
}

/** "k RELEASE", uname(2). */
function assembleKernel(a: Assembler): void {
  a.label("kernel");
  sys(a, "uname", { at: data.utsname });
  letter(a, "k");
  a.to(Code.Call_rel32_64, "space");
  address(a, R.RSI, data.utsname + 2 * UTS_FIELD_BYTES);
  a.label("release");
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.RSI });
  a.rr(Code.Test_rm8_r8, R.AL, R.AL);
  a.to(Code.Je_rel32_64, "flush");
  a.to(Code.Call_rel32_64, "put");
  a.r(Code.Inc_rm64, R.RSI);
  a.to(Code.Jmp_rel32_64, "release");
}

/** Each letter in turn: set up, once without the clock, then again and again until time is up. */
function assembleWork(a: Assembler): void {
  a.label("work");
  load(a, R.RSI, R.RBX, 24);
  a.to(Code.Call_rel32_64, "parse");
  set(a, R.RDX, 1_000_000);
  a.rr(Code.Imul_r64_rm64, R.RAX, R.RDX);
  a.rr(Code.Mov_rm64_r64, R.R12, R.RAX);
  assemblePath(a);
  load(a, R.RBP, R.RBX, 16);
  a.label("next");
  a.r(Code.Inc_rm64, R.RBP);
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.RBP });
  a.rr(Code.Test_rm8_r8, R.AL, R.AL);
  a.to(Code.Je_rel32_64, "exit");
  for (const { letter: name } of workloads) {
    a.ri(Code.Cmp_rm8_imm8, R.AL, name.charCodeAt(0));
    a.to(Code.Je_rel32_64, `work-${name}`);
  }
  a.to(Code.Jmp_rel32_64, "next");
  for (const { letter: name } of workloads) {
    a.label(`work-${name}`);
    for (const step of ["setup", "batch"]) {
      a.to(Code.Call_rel32_64, `${step}-${name}`);
      a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
      a.to(Code.Js_rel32_64, "failed");
    }
    a.to(Code.Call_rel32_64, "begin");
    a.label(`again-${name}`);
    a.to(Code.Call_rel32_64, `batch-${name}`);
    a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
    a.to(Code.Js_rel32_64, "failed");
    a.to(Code.Call_rel32_64, "account");
    a.to(Code.Jb_rel32_64, `again-${name}`);
    a.to(Code.Jmp_rel32_64, "report");
  }
  assembleReports(a);
}

/** Where files go: the third argument and a name of ours. */
function assemblePath(a: Assembler): void {
  load(a, R.RSI, R.RBX, 32);
  address(a, R.RDI, data.path);
  a.label("path");
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.RSI });
  a.mr(Code.Mov_rm8_r8, { base: R.RDI }, R.AL);
  a.r(Code.Inc_rm64, R.RSI);
  a.r(Code.Inc_rm64, R.RDI);
  a.rr(Code.Test_rm8_r8, R.AL, R.AL);
  a.to(Code.Jne_rel32_64, "path");
  a.ri64(Code.Mov_r64_imm64, R.RAX, eightLetters("/.mw-pro"));
  a.mr(Code.Mov_rm64_r64, { base: R.RDI, displacement: -1 }, R.RAX);
  a.ri64(Code.Mov_r64_imm64, R.RAX, eightLetters("be.tmp"));
  a.mr(Code.Mov_rm64_r64, { base: R.RDI, displacement: 7 }, R.RAX);
}

/**
 * "I 30001234 120000 251000 1000": letter, nanoseconds, operations, the same of the fastest batch;
 * or "I ! 13": letter, errno.
 */
function assembleReports(a: Assembler): void {
  a.label("report");
  a.r(Code.Push_r64, R.RAX);
  a.to(Code.Call_rel32_64, "letter");
  a.to(Code.Call_rel32_64, "space");
  a.r(Code.Pop_r64, R.RAX);
  a.to(Code.Call_rel32_64, "number");
  a.to(Code.Call_rel32_64, "space");
  a.rr(Code.Mov_rm64_r64, R.RAX, R.R14);
  for (const place of [data.best, data.each]) {
    a.to(Code.Call_rel32_64, "number");
    a.to(Code.Call_rel32_64, "space");
    load(a, R.RAX, R.R15, place);
  }
  a.to(Code.Jmp_rel32_64, "last-number");
  a.label("failed");
  a.r(Code.Neg_rm64, R.RAX);
  a.r(Code.Push_r64, R.RAX);
  a.to(Code.Call_rel32_64, "letter");
  a.to(Code.Call_rel32_64, "space");
  letter(a, "!");
  a.to(Code.Call_rel32_64, "space");
  a.r(Code.Pop_r64, R.RAX);
  a.label("last-number");
  a.to(Code.Call_rel32_64, "number");
  a.to(Code.Call_rel32_64, "flush");
  a.to(Code.Jmp_rel32_64, "next");
  a.label("begin");
  a.to(Code.Call_rel32_64, "now");
  a.rr(Code.Mov_rm64_r64, R.R13, R.RAX);
  store(a, data.last, R.RAX);
  set(a, R.RAX, -1); // the largest time that there is
  store(a, data.best, R.RAX);
  set(a, R.RAX, 0);
  store(a, data.batches, R.RAX);
  a.rr(Code.Xor_rm32_r32, R.R14D, R.R14D);
  a.op(Code.Retnq);
  assembleAccount(a);
}

/** After a batch of rax operations: keeps the fastest; below, when time is not up. */
function assembleAccount(a: Assembler): void {
  a.label("account");
  store(a, data.each, R.RAX);
  a.rr(Code.Add_rm64_r64, R.R14, R.RAX);
  a.to(Code.Call_rel32_64, "now");
  a.rr(Code.Mov_rm64_r64, R.RCX, R.RAX);
  a.rm(Code.Sub_r64_rm64, R.RCX, { base: R.R15, displacement: data.last });
  store(a, data.last, R.RAX);
  a.rm(Code.Cmp_r64_rm64, R.RCX, { base: R.R15, displacement: data.best });
  a.to(Code.Jae_rel32_64, "not-faster");
  store(a, data.best, R.RCX);
  a.label("not-faster");
  a.rr(Code.Sub_rm64_r64, R.RAX, R.R13);
  load(a, R.RCX, R.R15, data.batches);
  a.r(Code.Inc_rm64, R.RCX);
  store(a, data.batches, R.RCX);
  a.ri(Code.Cmp_rm64_imm8, R.RCX, MIN_BATCHES);
  a.to(Code.Jb_rel32_64, "accounted");
  a.rr(Code.Cmp_rm64_r64, R.RAX, R.R12);
  a.label("accounted");
  a.op(Code.Retnq);
}

/** The clock, numbers and lines. */
function assembleText(a: Assembler): void {
  a.label("now"); // nanoseconds in rax
  sys(a, "clock_gettime", CLOCK_MONOTONIC, { at: data.time });
  load(a, R.RAX, R.R15, data.time);
  set(a, R.RDX, 1_000_000_000);
  a.rr(Code.Imul_r64_rm64, R.RAX, R.RDX);
  a.rm(Code.Add_r64_rm64, R.RAX, { base: R.R15, displacement: data.time + 8 });
  a.op(Code.Retnq);
  a.label("parse"); // decimal digits at rsi; the number in rax
  set(a, R.RAX, 0);
  a.label("digit");
  a.rm(Code.Movzx_r32_rm8, R.ECX, { base: R.RSI });
  a.ri(Code.Sub_rm32_imm8, R.ECX, 0x30);
  a.ri(Code.Cmp_rm32_imm8, R.ECX, 9);
  a.to(Code.Ja_rel32_64, "give-up");
  set(a, R.RDX, 10);
  a.rr(Code.Imul_r64_rm64, R.RAX, R.RDX);
  a.rr(Code.Add_rm64_r64, R.RAX, R.RCX);
  a.r(Code.Inc_rm64, R.RSI);
  a.to(Code.Jmp_rel32_64, "digit");
  a.label("number"); // rax, in decimal
  address(a, R.RSI, data.digitsEnd);
  set(a, R.RCX, 10);
  a.label("divide");
  a.rr(Code.Xor_rm32_r32, R.EDX, R.EDX);
  a.r(Code.Div_rm64, R.RCX);
  a.ri(Code.Add_rm32_imm8, R.EDX, 0x30);
  a.r(Code.Dec_rm64, R.RSI);
  a.mr(Code.Mov_rm8_r8, { base: R.RSI }, R.DL);
  a.rr(Code.Test_rm64_r64, R.RAX, R.RAX);
  a.to(Code.Jne_rel32_64, "divide");
  address(a, R.RDX, data.digitsEnd);
  a.label("copy-digit");
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.RSI });
  a.to(Code.Call_rel32_64, "put");
  a.r(Code.Inc_rm64, R.RSI);
  a.rr(Code.Cmp_rm64_r64, R.RSI, R.RDX);
  a.to(Code.Jne_rel32_64, "copy-digit");
  a.op(Code.Retnq);
  a.label("letter");
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.RBP });
  a.to(Code.Jmp_rel32_64, "put");
  a.label("space");
  set(a, R.RAX, 0x20);
  a.label("put");
  load(a, R.RDI, R.R15, data.cursor);
  a.mr(Code.Mov_rm8_r8, { base: R.RDI }, R.AL);
  a.r(Code.Inc_rm64, R.RDI);
  store(a, data.cursor, R.RDI);
  a.op(Code.Retnq);
  a.label("flush");
  set(a, R.RAX, 10);
  a.to(Code.Call_rel32_64, "put");
  load(a, R.RDX, R.R15, data.cursor);
  address(a, R.RSI, data.line);
  store(a, data.cursor, R.RSI);
  a.rr(Code.Sub_rm64_r64, R.RDX, R.RSI);
  sys(a, "write", 1, { register: R.RSI }, { register: R.RDX });
  a.op(Code.Retnq);
}

function letter(a: Assembler, text: string): void {
  set(a, R.RAX, text.charCodeAt(0));
  a.to(Code.Call_rel32_64, "put");
}

function eightLetters(text: string): bigint {
  return new DataView(Uint8Array.from(Buffer.from(text.padEnd(8, "\0"))).buffer).getBigUint64(
    0,
    true,
  );
}
