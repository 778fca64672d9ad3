/**
 * The probe's part over the network to its host: what a world asks, and what answers. The server is
 * the same program, run by the host as a plain process, so that no other engine's event loop is
 * part of a round trip. A connection says with its first byte what it wants.
 */
import { type Assembler, Code, Register as R } from "./assembler.ts";
import { data, load, must, type Operand, set, store, sys } from "./probe-calls.ts";

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const ADDRESS_BYTES = 16;
const BACKLOG = 16;
const SIGCHLD = 17;
const SIGKILL = 9;
const PR_SET_PDEATHSIG = 1;
const WNOHANG = 1;
const EDESTADDRREQ = 89;
const ECONNRESET = 104;

const EXCHANGES = 16;
/** Between two acknowledgements: what lies in buffers on the way has not arrived. */
const PIECE_BYTES = 1 << 20;

// netdevice(7)
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFADDR = 0x8916;
const IFF_UP = 1;
const ETH0 = 0x3068_7465n;
/** The address that QEMU's user network gives its guest, 10.0.2.15 in network order. */
const GUEST_ADDRESS = 0x0f02_000a;

const wishes = { echo: "e", sink: "s", source: "r" } as const;
type Wish = keyof typeof wishes;

/**
 * Brings the loopback device up, then the first other one with QEMU's address: for a guest that has
 * nobody else to do it. Fails after the first where there is no second.
 */
export function networkUp(a: Assembler): void {
  must(a, "socket", AF_INET, SOCK_DGRAM, 0);
  store(a, data.one, R.RAX);
  bringUp(a, 0x6f6cn); // "lo"
  a.ri64(Code.Mov_r64_imm64, R.RAX, ETH0);
  store(a, data.request, R.RAX);
  storeWord(a, data.request + 16, AF_INET);
  storeWord(a, data.request + 20, GUEST_ADDRESS);
  must(a, "ioctl", { load: data.one }, SIOCSIFADDR, { at: data.request });
  bringUp(a, ETH0);
}

function bringUp(a: Assembler, name: bigint): void {
  a.ri64(Code.Mov_r64_imm64, R.RAX, name);
  store(a, data.request, R.RAX);
  storeWord(a, data.request + 16, IFF_UP);
  must(a, "ioctl", { load: data.one }, SIOCSIFFLAGS, { at: data.request });
}

export function reachForEcho(a: Assembler): void {
  reach(a, "echo");
}
export function reachForSink(a: Assembler): void {
  reach(a, "sink");
}
export function reachForSource(a: Assembler): void {
  reach(a, "source");
}

/** A connection to the fourth argument's address and the fifth's port, as the kernel keeps them. */
function reach(a: Assembler, wish: Wish): void {
  load(a, R.RSI, R.RBX, 8 + 8 * 4);
  set(a, R.RAX, -EDESTADDRREQ);
  a.rr(Code.Test_rm64_r64, R.RSI, R.RSI);
  a.to(Code.Je_rel32_64, "give-up");
  a.to(Code.Call_rel32_64, "parse");
  a.mr(Code.Mov_rm32_r32, { base: R.R15, displacement: data.address + 4 }, R.EAX);
  load(a, R.RSI, R.RBX, 8 + 8 * 5);
  a.to(Code.Call_rel32_64, "parse");
  a.ri(Code.Shl_rm64_imm8, R.RAX, 16);
  a.ri(Code.Add_rm64_imm8, R.RAX, AF_INET);
  a.mr(Code.Mov_rm32_r32, { base: R.R15, displacement: data.address }, R.EAX);
  must(a, "socket", AF_INET, SOCK_STREAM, 0);
  store(a, data.fdA, R.RAX);
  must(a, "connect", { load: data.fdA }, { at: data.address }, ADDRESS_BYTES);
  withoutDelay(a, { load: data.fdA });
  storeWord(a, data.byte, wishes[wish].charCodeAt(0));
  must(a, "write", { load: data.fdA }, { at: data.byte }, 1);
}

/** A byte there and back, each waiting for the one before. */
export function exchangeWithHost(a: Assembler): void {
  set(a, R.R8, EXCHANGES);
  a.label("exchange");
  must(a, "write", { load: data.fdA }, { at: data.byte }, 1);
  mustRead(a, { load: data.fdA }, { at: data.byte }, 1);
  a.r(Code.Dec_rm64, R.R8);
  a.to(Code.Jne_rel32_64, "exchange");
  set(a, R.RAX, EXCHANGES);
}

export function sendToHost(a: Assembler): void {
  moveAll(a, "send-all", () =>
    must(a, "write", { load: data.fdA }, { at: data.source }, { register: R.R8 }),
  );
  mustRead(a, { load: data.fdA }, { at: data.byte }, 1);
  set(a, R.RAX, PIECE_BYTES);
}

export function receiveFromHost(a: Assembler): void {
  must(a, "write", { load: data.fdA }, { at: data.byte }, 1);
  moveAll(a, "receive-all", () =>
    mustRead(a, { load: data.fdA }, { at: data.target }, { register: R.R8 }),
  );
  set(a, R.RAX, PIECE_BYTES);
}

/** `once` moves up to r8 bytes and leaves in rax how many. */
function moveAll(a: Assembler, label: string, once: () => void): void {
  set(a, R.R8, PIECE_BYTES);
  a.label(label);
  once();
  a.rr(Code.Sub_rm64_r64, R.R8, R.RAX);
  a.to(Code.Ja_rel32_64, label);
}

function mustRead(a: Assembler, ...operands: readonly Operand[]): void {
  must(a, "read", ...operands);
  a.to(Code.Je_rel32_64, "hung-up"); // flags are those of the test in must()
}

/**
 * "l PORT", then connections until whoever started it ends; the second argument is the address to
 * listen at. Only who comes from the same address, this machine itself, gets an answer. Ends with the
 * errno when it cannot listen.
 */
export function assembleServer(a: Assembler): void {
  a.label("serve");
  a.to(Code.Call_rel32_64, "listen");
  a.r(Code.Neg_rm64, R.RAX);
  sys(a, "exit_group", { register: R.RAX });
  a.label("hung-up");
  set(a, R.RAX, -ECONNRESET);
  a.op(Code.Retnq);

  a.label("listen");
  must(a, "prctl", PR_SET_PDEATHSIG, SIGKILL);
  load(a, R.RSI, R.RBX, 8 + 8 * 2);
  a.to(Code.Call_rel32_64, "parse");
  a.mr(Code.Mov_rm32_r32, { base: R.R15, displacement: data.address + 4 }, R.EAX);
  storeWord(a, data.address, AF_INET);
  storeWord(a, data.addressLength, ADDRESS_BYTES);
  must(a, "socket", AF_INET, SOCK_STREAM, 0);
  store(a, data.listener, R.RAX);
  const listener = { load: data.listener };
  withoutDelay(a, listener); // as their connections
  must(a, "bind", listener, { at: data.address }, ADDRESS_BYTES);
  must(a, "listen", listener, BACKLOG);
  must(a, "getsockname", listener, { at: data.address }, { at: data.addressLength });
  set(a, R.RAX, "l".charCodeAt(0));
  a.to(Code.Call_rel32_64, "put");
  a.to(Code.Call_rel32_64, "space");
  a.rm(Code.Movzx_r32_rm16, R.EAX, { base: R.R15, displacement: data.address + 2 });
  a.to(Code.Call_rel32_64, "number");
  a.to(Code.Call_rel32_64, "flush");
  a.label("accept");
  must(a, "accept", listener, { at: data.peer }, { at: data.addressLength });
  store(a, data.fdA, R.RAX);
  sys(a, "wait4", -1, 0, WNOHANG, 0); // one that ended, for each that begins
  a.rm(Code.Mov_r32_rm32, R.EAX, { base: R.R15, displacement: data.peer + 4 });
  a.rm(Code.Cmp_r32_rm32, R.EAX, { base: R.R15, displacement: data.address + 4 });
  a.to(Code.Jne_rel32_64, "not-served");
  must(a, "clone", SIGCHLD, 0, 0, 0, 0);
  a.to(Code.Je_rel32_64, "serve-one");
  a.label("not-served");
  must(a, "close", { load: data.fdA });
  a.to(Code.Jmp_rel32_64, "accept");
  assembleWishes(a);
}

/** In a process of its own for each connection: one that hangs keeps none from the others. */
function assembleWishes(a: Assembler): void {
  const connection = { load: data.fdA };
  a.label("serve-one");
  must(a, "prctl", PR_SET_PDEATHSIG, SIGKILL);
  mustRead(a, connection, { at: data.byte }, 1);
  a.rm(Code.Movzx_r32_rm8, R.EAX, { base: R.R15, displacement: data.byte });
  for (const [wish, letter] of Object.entries(wishes)) {
    a.ri(Code.Cmp_rm8_imm8, R.AL, letter.charCodeAt(0));
    a.to(Code.Je_rel32_64, `serve-${wish}`);
  }
  a.op(Code.Retnq);
  a.label("serve-echo");
  mustRead(a, connection, { at: data.target }, 1 << 12);
  must(a, "write", connection, { at: data.target }, { register: R.RAX });
  a.to(Code.Jmp_rel32_64, "serve-echo");
  a.label("serve-sink");
  moveAll(a, "sink-all", () => mustRead(a, connection, { at: data.target }, { register: R.R8 }));
  must(a, "write", connection, { at: data.byte }, 1);
  a.to(Code.Jmp_rel32_64, "serve-sink");
  a.label("serve-source");
  mustRead(a, connection, { at: data.byte }, 1);
  moveAll(a, "source-all", () =>
    must(a, "write", connection, { at: data.source }, { register: R.R8 }),
  );
  a.to(Code.Jmp_rel32_64, "serve-source");
}

function withoutDelay(a: Assembler, socket: Operand): void {
  set(a, R.RAX, 1);
  store(a, data.one, R.RAX);
  must(a, "setsockopt", socket, IPPROTO_TCP, TCP_NODELAY, { at: data.one }, 4);
}

function storeWord(a: Assembler, offset: number, value: number): void {
  set(a, R.RAX, value);
  a.mr(Code.Mov_rm32_r32, { base: R.R15, displacement: offset }, R.EAX);
}
