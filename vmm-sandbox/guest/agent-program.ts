/**
 * PID 1 of a guest, as a syscall program: dials the host, runs what it sends, reaps children.
 *
 * ```
 * connect → "ready" → ┌ poll: request, or SIGCHLD ┐
 *                     │ request: read a block; run it, or fork and run it there; answer
 *                     │ SIGCHLD: wait4 until nobody is left; report each
 *                     └───────────────────────────┘   connection gone: power off; "redial": connect
 * ```
 */
import {
  type Argument,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  O_CLOEXEC,
  O_PATH,
  POLLIN,
  PROT_READ,
  PROT_WRITE,
  type Program,
  pollfd,
  type Row,
  SFD_CLOEXEC,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGCHLD,
  sigsetSizeBytes,
  WNOHANG,
} from "../../linux/index.ts";
import { dial } from "./dial.ts";
import { loadModules } from "./kernel-modules.ts";
import { ARENA_ADDRESS, ARENA_BYTES, message, messageKinds } from "./protocol.ts";

export interface AgentOptions {
  /** AF_VSOCK in a machine. */
  readonly family: number;
  /** sockaddr of the host's end, for connect(2). */
  readonly address: Uint8Array;
  /** Kernel modules to load first, in this order: paths in the initramfs. */
  readonly modules?: readonly string[];
  /** What to do when the host is gone; a machine powers off, a test exits. */
  readonly farewell: readonly Row[];
}

/** reboot(2): magic numbers and the command that ends a machine. */
const LINUX_REBOOT_MAGIC1 = 0xfee1_dead;
const LINUX_REBOOT_MAGIC2 = 672_274_793;
const LINUX_REBOOT_CMD_POWER_OFF = 0x4321_fedc;

export const powerOff: readonly Row[] = [
  { call: "sync", args: [] },
  {
    call: "reboot",
    args: [LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0],
  },
];

const control: Argument = { result: "control" };
const sizeOf = (field: "kind" | "size" | "value" | "status"): number => message.offsets[field];
const childSignal = new Uint8Array(sigsetSizeBytes);
new DataView(childSignal.buffer).setBigUint64(0, 1n << BigInt(SIGCHLD - 1), true);

export function planAgent(options: AgentOptions): Program {
  return {
    rows: [
      // Descriptors 0 to 2 are the process's in every child, so nothing else may be there.
      { label: "fill" },
      { call: "openat", args: [-100, "/", O_PATH | O_CLOEXEC, 0] },
      { jump: "fill", if: [{ last: true }, "<", 3] },
      ...loadModules(options.modules ?? []),
      ...openConnection(options),
      { label: "wait" },
      { call: "poll", args: [{ buffer: "poll" }, 2, -1] },
      ...[0, 1].map(readEvents),
      { jump: "reap", if: [{ result: "events1" }, "&", POLLIN] },
      { jump: "request", if: [{ result: "events0" }, "!=", 0] },
      { jump: "wait" },
      ...reapChildren(),
      ...takeRequest(),
      { label: "gone" },
      ...options.farewell,
    ],
    buffers: {
      poll: 2 * pollfd.sizeBytes,
      in: message.sizeBytes,
      out: message.sizeBytes,
      status: 8,
      done: 8,
      signal: 128,
      mask: sigsetSizeBytes,
    },
    onError: "gone",
  };
}

function openConnection({ family, address }: AgentOptions): readonly Row[] {
  const where = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return [
    { call: "mmap", args: [ARENA_ADDRESS, ARENA_BYTES, PROT_READ | PROT_WRITE, where, -1, 0] },
    {
      call: "rt_sigprocmask",
      args: [SIG_BLOCK, childSignal, { buffer: "mask" }, sigsetSizeBytes],
    },
    { call: "signalfd4", args: [-1, childSignal, sigsetSizeBytes, SFD_CLOEXEC], as: "signals" },
    { label: "dial" },
    ...dial(family, { address, as: "control" }),
    ...watch(0, control),
    ...watch(1, { result: "signals" }),
    ...answer("ready", { kind: "ready" }),
  ];
}

function watch(index: number, fd: Argument): readonly Row[] {
  const offset = index * pollfd.sizeBytes;
  return [
    { store: { buffer: "poll", offset: offset + pollfd.offsets.fd }, value: fd, width: 4 },
    { store: { buffer: "poll", offset: offset + pollfd.offsets.events }, value: POLLIN, width: 2 },
  ];
}

function readEvents(index: number): Row {
  const offset = index * pollfd.sizeBytes + pollfd.offsets.revents;
  return { read: { buffer: "poll", offset }, width: 2, as: `events${index}` };
}

function reapChildren(): readonly Row[] {
  return [
    { label: "reap" },
    { call: "read", args: [{ result: "signals" }, { buffer: "signal" }, 128] },
    { label: "reap-next" },
    {
      call: "wait4",
      args: [-1, { buffer: "status" }, WNOHANG, 0],
      as: "reaped",
      ignore: ["ECHILD"],
    },
    { jump: "wait", if: [{ result: "reaped" }, "<=", 0] },
    ...answer("exited", {
      kind: "exited",
      value: { result: "reaped" },
      status: { load: "status", width: 4 },
    }),
    { jump: "reap-next" },
  ];
}

function takeRequest(): readonly Row[] {
  const stored: Argument = { load: "in", offset: sizeOf("size"), width: 4 };
  const size: Argument = { load: "in", offset: sizeOf("value"), width: 8 };
  return [
    { label: "request" },
    ...readExactly("header", { buffer: "in" }, message.sizeBytes),
    { jump: "gone", if: [stored, "<", 0] },
    { jump: "gone", if: [stored, ">", size] },
    { jump: "gone", if: [size, ">", ARENA_BYTES] },
    // What is not sent of the block is zeros, whatever the one before left there.
    { call: "madvise", args: [ARENA_ADDRESS, ARENA_BYTES, MADV_DONTNEED] },
    ...readExactly("block", ARENA_ADDRESS, stored),
    { jump: "spawn", if: [{ load: "in", width: 4 }, "==", messageKinds.spawn] },
    { jump: "redial", if: [{ load: "in", width: 4 }, "==", messageKinds.redial] },
    { run: ARENA_ADDRESS, as: "value" },
    ...answer("done", { kind: "done", value: { result: "value" }, size }),
    ...writeExactly("block-back", ARENA_ADDRESS, size),
    { jump: "wait" },
    { label: "redial" },
    { call: "close", args: [control] },
    { jump: "dial" },
    { label: "spawn" },
    { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "child", ignore: ["EAGAIN", "ENOMEM"] },
    { jump: "child", if: [{ last: true }, "==", 0] },
    ...answer("spawned", { kind: "spawned", value: { result: "child" } }),
    { jump: "wait" },
    { label: "child" },
    // The child has no business with the host's requests or PID 1's signals.
    { call: "close", args: [control] },
    { call: "close", args: [{ result: "signals" }] },
    { call: "rt_sigprocmask", args: [SIG_SETMASK, { buffer: "mask" }, 0, sigsetSizeBytes] },
    { run: ARENA_ADDRESS, as: "child-value" },
    { call: "exit_group", args: [{ result: "child-value" }] },
  ];
}

/** Loops until `length` bytes are there; a connection that ends is the end. */
function readExactly(name: string, address: Argument, length: Argument): readonly Row[] {
  return transferExactly("read", `read-${name}`, address, length);
}

function writeExactly(name: string, address: Argument, length: Argument): readonly Row[] {
  return transferExactly("write", `write-${name}`, address, length);
}

function transferExactly(
  call: "read" | "write",
  name: string,
  address: Argument,
  length: Argument,
): readonly Row[] {
  const done: Argument = { load: "done", width: 8 };
  return [
    { store: { buffer: "done" }, value: 0, width: 8 },
    { label: name },
    { compute: [length, "-", done], as: `${name}-left` },
    { jump: `${name}-end`, if: [{ last: true }, "==", 0] },
    { compute: [address, "+", done], as: `${name}-at` },
    {
      call,
      args: [control, { result: `${name}-at` }, { result: `${name}-left` }],
      as: `${name}-count`,
    },
    { jump: "gone", if: [{ last: true }, "==", 0] },
    { compute: [done, "+", { result: `${name}-count` }], as: `${name}-done` },
    { store: { buffer: "done" }, value: { result: `${name}-done` }, width: 8 },
    { jump: name },
    { label: `${name}-end` },
  ];
}

function answer(
  name: string,
  fields: {
    readonly kind: keyof typeof messageKinds;
    readonly size?: Argument;
    readonly value?: Argument;
    readonly status?: Argument;
  },
): readonly Row[] {
  const { kind, size = 0, value = 0, status = 0 } = fields;
  return [
    { store: { buffer: "out" }, value: messageKinds[kind], width: 4 },
    { store: { buffer: "out", offset: sizeOf("size") }, value: size, width: 4 },
    { store: { buffer: "out", offset: sizeOf("value") }, value, width: 8 },
    { store: { buffer: "out", offset: sizeOf("status") }, value: status, width: 8 },
    ...writeExactly(`answer-${name}`, { buffer: "out" }, message.sizeBytes),
  ];
}
