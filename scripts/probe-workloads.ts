/**
 * What the probe can measure, a letter each. `batch` does a number of operations and leaves it in
 * rax, or a negative errno; `setup` runs once before. Neither may touch rbx, rbp or r12 to r15.
 */
import { type Assembler, Code, Register as R } from "./assembler.ts";
import { address, data, load, must, set, store, sys, times } from "./probe-calls.ts";
import {
  exchangeWithHost,
  networkUp,
  reachForEcho,
  reachForSink,
  reachForSource,
  receiveFromHost,
  sendToHost,
} from "./probe-network.ts";

export interface Workload {
  readonly letter: string;
  readonly setup?: (a: Assembler) => void;
  readonly batch: (a: Assembler) => void;
}

const LOOPS = 100_000;
const CALLS = 1000;
const PAGES = 256;
const PAGE_BYTES = 4096;
const COPY_BYTES = 1 << 20;
const FILES = 16;
const BLOCK_BYTES = 1 << 16;
const BLOCKS = 64;
const MESSAGES = 64;
/** Fits into every socket buffer, so that one process can hold both ends. */
const PIECE_BYTES = 1 << 14;

const AF_INET = 2;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const MADV_NOHUGEPAGE = 15;
const O_CREATE_NEW = 0o302; // O_RDWR | O_CREAT | O_EXCL
const SIGCHLD = 17;

// biome-ignore format: table
export const workloads: readonly Workload[] = [
  { letter: "I", batch: integers },
  { letter: "F", batch: floats },
  { letter: "M", batch: copyMemory },
  { letter: "S", batch: getpids },
  { letter: "P", batch: pageFaults },
  { letter: "X", batch: forkAndExec },
  { letter: "D", batch: smallFiles },
  { letter: "W", setup: openFile,  batch: writeFile },
  { letter: "R", setup: fillFile,  batch: readFile },
  { letter: "Y", setup: openFile,  batch: syncFile },
  { letter: "T", setup: connect,   batch: sendBytes },
  { letter: "N", setup: connect,   batch: sendPieces },
  { letter: "C", setup: forkEcho,  batch: switchProcesses },
  { letter: "U", setup: networkUp, batch: nothing },
  { letter: "A", setup: reachForEcho,   batch: exchangeWithHost },
  { letter: "B", setup: reachForSink,   batch: sendToHost },
  { letter: "E", setup: reachForSource, batch: receiveFromHost },
];

/** Of what its setup alone does. */
function nothing(a: Assembler): void {
  set(a, R.RAX, 1);
}

/** xorshift64* (Marsaglia 2003, Vigna 2016): each step needs the one before. */
function integers(a: Assembler): void {
  set(a, R.RCX, LOOPS);
  set(a, R.RAX, 0x1234_5678);
  a.ri64(Code.Mov_r64_imm64, R.RSI, 0x2545_f491_4f6c_dd1dn);
  a.label("integer");
  for (const [shift, bits] of [
    [Code.Shr_rm64_imm8, 12],
    [Code.Shl_rm64_imm8, 25],
    [Code.Shr_rm64_imm8, 27],
  ] as const) {
    a.rr(Code.Mov_rm64_r64, R.RDX, R.RAX);
    a.ri(shift, R.RDX, bits);
    a.rr(Code.Xor_rm64_r64, R.RAX, R.RDX);
  }
  a.rr(Code.Imul_r64_rm64, R.RAX, R.RSI);
  a.r(Code.Dec_rm64, R.RCX);
  a.to(Code.Jne_rel32_64, "integer");
  set(a, R.RAX, LOOPS);
}

/** The logistic map x = r x (1 - x), in doubles. */
function floats(a: Assembler): void {
  const constants = [
    [R.XMM0, 0.3],
    [R.XMM1, 3.9],
    [R.XMM2, 1],
  ] as const;
  for (const [register, value] of constants) {
    a.ri64(Code.Mov_r64_imm64, R.RAX, new BigInt64Array(Float64Array.of(value).buffer)[0] ?? 0n);
    a.rr(Code.Movq_xmm_rm64, register, R.RAX);
  }
  set(a, R.RCX, LOOPS);
  a.label("float");
  a.rr(Code.Movapd_xmm_xmmm128, R.XMM3, R.XMM2);
  a.rr(Code.Subsd_xmm_xmmm64, R.XMM3, R.XMM0);
  a.rr(Code.Mulsd_xmm_xmmm64, R.XMM0, R.XMM1);
  a.rr(Code.Mulsd_xmm_xmmm64, R.XMM0, R.XMM3);
  a.r(Code.Dec_rm64, R.RCX);
  a.to(Code.Jne_rel32_64, "float");
  set(a, R.RAX, LOOPS);
}

function copyMemory(a: Assembler): void {
  address(a, R.RSI, data.source);
  address(a, R.RDI, data.target);
  set(a, R.RCX, COPY_BYTES);
  a.repeatMoveBytes();
  set(a, R.RAX, COPY_BYTES);
}

function getpids(a: Assembler): void {
  set(a, R.RDX, CALLS);
  a.label("getpid");
  sys(a, "getpid");
  a.r(Code.Dec_rm64, R.RDX);
  a.to(Code.Jne_rel32_64, "getpid");
  set(a, R.RAX, CALLS);
}

/** Fresh anonymous pages of 4 KiB, each touched once. */
function pageFaults(a: Assembler): void {
  const [readWrite, privateAnonymous, bytes] = [3, 0x22, PAGES * PAGE_BYTES];
  must(a, "mmap", 0, bytes, readWrite, privateAnonymous, -1, 0);
  store(a, data.one, R.RAX);
  sys(a, "madvise", { load: data.one }, bytes, MADV_NOHUGEPAGE); // kernels without huge pages refuse
  load(a, R.RSI, R.R15, data.one);
  set(a, R.RCX, PAGES);
  a.label("touch");
  a.mr(Code.Mov_rm8_r8, { base: R.RSI }, R.CL);
  a.ri(Code.Add_rm64_imm32, R.RSI, PAGE_BYTES);
  a.r(Code.Dec_rm64, R.RCX);
  a.to(Code.Jne_rel32_64, "touch");
  must(a, "munmap", { load: data.one }, bytes);
  set(a, R.RAX, PAGES);
}

/** A child that executes this program again, to exit. */
function forkAndExec(a: Assembler): void {
  set(a, R.RAX, "x".charCodeAt(0));
  store(a, data.exitWord, R.RAX);
  load(a, R.RAX, R.RBX, 8);
  store(a, data.vector, R.RAX);
  address(a, R.RAX, data.exitWord);
  store(a, data.vector + 8, R.RAX);
  must(a, "clone", SIGCHLD, 0, 0, 0, 0);
  a.to(Code.Jne_rel32_64, "fork-parent"); // flags are those of the test in must()
  sys(a, "execve", { argument: 0 }, { at: data.vector }, 0);
  sys(a, "exit_group", 127);
  a.label("fork-parent");
  must(a, "wait4", { register: R.RAX }, { at: data.status }, 0, 0);
  a.rm(Code.Mov_r32_rm32, R.ECX, { base: R.R15, displacement: data.status });
  set(a, R.RAX, -8); // ENOEXEC
  a.rr(Code.Test_rm32_r32, R.ECX, R.ECX);
  a.to(Code.Jne_rel32_64, "give-up");
  set(a, R.RAX, 1);
}

/** Create, write a byte, close, stat, unlink. */
function smallFiles(a: Assembler): void {
  times(a, "file", FILES, () => {
    must(a, "open", { at: data.path }, O_CREATE_NEW, 0o600);
    store(a, data.one, R.RAX);
    must(a, "write", { load: data.one }, { at: data.byte }, 1);
    must(a, "close", { load: data.one });
    must(a, "stat", { at: data.path }, { at: data.stat });
    must(a, "unlink", { at: data.path });
  });
  set(a, R.RAX, FILES);
}

/** A file without a name: it goes when we do. */
function openFile(a: Assembler): void {
  must(a, "open", { at: data.path }, O_CREATE_NEW, 0o600);
  store(a, data.fdA, R.RAX);
  must(a, "unlink", { at: data.path });
}

function fillFile(a: Assembler): void {
  openFile(a);
  eachBlock(a, "fill", "pwrite64");
}

function writeFile(a: Assembler): void {
  eachBlock(a, "write", "pwrite64");
  must(a, "fdatasync", { load: data.fdA });
  set(a, R.RAX, BLOCKS * BLOCK_BYTES);
}

function readFile(a: Assembler): void {
  eachBlock(a, "read", "pread64");
  set(a, R.RAX, BLOCKS * BLOCK_BYTES);
}

function eachBlock(a: Assembler, label: string, call: "pwrite64" | "pread64"): void {
  set(a, R.R8, 0);
  times(a, label, BLOCKS, () => {
    must(a, call, { load: data.fdA }, { at: data.source }, BLOCK_BYTES, { register: R.R8 });
    a.ri(Code.Add_rm64_imm32, R.R8, BLOCK_BYTES);
  });
}

function syncFile(a: Assembler): void {
  must(a, "pwrite64", { load: data.fdA }, { at: data.source }, PAGE_BYTES, 0);
  must(a, "fdatasync", { load: data.fdA });
  set(a, R.RAX, 1);
}

/** Both ends of a connection over the loopback interface of this world. */
function connect(a: Assembler): void {
  const addressBytes = 16;
  // sockaddr_in: family, port 0 (the kernel chooses), 127.0.0.1 in network order
  set(a, R.RAX, AF_INET);
  store(a, data.address, R.RAX);
  a.ri64(Code.Mov_r64_imm64, R.RAX, 0x0100_007fn);
  a.mr(Code.Mov_rm32_r32, { base: R.R15, displacement: data.address + 4 }, R.EAX);
  set(a, R.RAX, addressBytes);
  store(a, data.addressLength, R.RAX);
  must(a, "socket", AF_INET, SOCK_STREAM, 0);
  store(a, data.listener, R.RAX);
  must(a, "bind", { load: data.listener }, { at: data.address }, addressBytes);
  must(a, "listen", { load: data.listener }, 1);
  must(a, "getsockname", { load: data.listener }, { at: data.address }, { at: data.addressLength });
  must(a, "socket", AF_INET, SOCK_STREAM, 0);
  store(a, data.fdA, R.RAX);
  must(a, "connect", { load: data.fdA }, { at: data.address }, addressBytes);
  must(a, "accept", { load: data.listener }, 0, 0);
  store(a, data.fdB, R.RAX);
  set(a, R.RAX, 1);
  store(a, data.one, R.RAX);
  const value = { at: data.one };
  must(a, "setsockopt", { load: data.fdA }, IPPROTO_TCP, TCP_NODELAY, value, 4);
  must(a, "close", { load: data.listener });
}

function sendBytes(a: Assembler): void {
  times(a, "message", MESSAGES, () => {
    must(a, "write", { load: data.fdA }, { at: data.byte }, 1);
    must(a, "read", { load: data.fdB }, { at: data.byte }, 1);
  });
  set(a, R.RAX, MESSAGES);
}

function sendPieces(a: Assembler): void {
  times(a, "piece", MESSAGES, () => {
    must(a, "write", { load: data.fdA }, { at: data.source }, PIECE_BYTES);
    a.rr(Code.Mov_rm64_r64, R.R8, R.RAX);
    a.label("receive");
    must(a, "read", { load: data.fdB }, { at: data.target }, PIECE_BYTES);
    a.rr(Code.Sub_rm64_r64, R.R8, R.RAX);
    a.to(Code.Ja_rel32_64, "receive");
  });
  set(a, R.RAX, MESSAGES * PIECE_BYTES);
}

/** A child that sends back each byte; it ends when our ends of the pipes do. */
function forkEcho(a: Assembler): void {
  must(a, "pipe2", { at: data.pipeTo }, 0);
  must(a, "pipe2", { at: data.pipeFrom }, 0);
  must(a, "clone", SIGCHLD, 0, 0, 0, 0);
  a.to(Code.Jne_rel32_64, "echo-parent");
  sys(a, "close", { load: data.pipeTo + 4, width: 4 });
  sys(a, "close", { load: data.pipeFrom, width: 4 });
  a.label("echo");
  sys(a, "read", { load: data.pipeTo, width: 4 }, { at: data.byte }, 1);
  a.ri(Code.Cmp_rm64_imm8, R.RAX, 1);
  a.to(Code.Jne_rel32_64, "exit");
  sys(a, "write", { load: data.pipeFrom + 4, width: 4 }, { at: data.byte }, 1);
  a.to(Code.Jmp_rel32_64, "echo");
  a.label("echo-parent");
}

function switchProcesses(a: Assembler): void {
  times(a, "switch", MESSAGES, () => {
    must(a, "write", { load: data.pipeTo + 4, width: 4 }, { at: data.byte }, 1);
    must(a, "read", { load: data.pipeFrom, width: 4 }, { at: data.byte }, 1);
  });
  set(a, R.RAX, MESSAGES);
}
