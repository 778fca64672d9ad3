/**
 * Rows that connect a guest process's standard streams to the host.
 *
 * ```
 * pipes      host ⇄ socket ⇄ pump ⇄ pipe ⇄ process       three pumps, one a stream
 * terminal   host ⇄ socket ⇄ pump ⇄ master ⇄ slave ⇄ process
 *            host → socket → pump: window sizes (struct winsize) → ioctl(master)
 * ```
 * Sockets are not given to the process itself: /dev/stdout cannot be opened when it is a socket,
 * and many images log to it. A pump is a child that copies until its source ends, then exits; the
 * guest's PID 1 reaps it.
 */
import {
  AF_UNIX,
  ALL_FDS,
  type Argument,
  MSG_CMSG_CLOEXEC,
  msghdr,
  O_CLOEXEC,
  type Row,
  SIGCHLD,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  TIOCSWINSZ,
  winsize,
} from "../../linux/index.ts";
import { dialAll } from "./dial.ts";

/** How the guest reaches a port of the host. */
export interface HostAddress {
  readonly family: number;
  /** sockaddr for connect(2). */
  address(port: number): Uint8Array;
}

export interface PipePorts {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

export interface TerminalPorts {
  /** Both directions of the terminal. */
  readonly terminal: number;
  /** The host writes a struct winsize for each change. */
  readonly windowSize: number;
}

export const PUMP_BYTES = 64 * 1024;
const SHUT_WR = 1;
const CONTROL_BYTES = 24; // cmsghdr and one descriptor, padded

/** Buffers that the rows of this file use; a program that has them must declare these. */
export const stdioBuffers = {
  pump: PUMP_BYTES,
  pipes: 24,
  rights: CONTROL_BYTES,
  "rights-byte": 8,
  "pump-done": 8,
} as const;

/** A process's streams: the ports to be connected, by the result that each is, and rows after that. */
export interface Streams {
  readonly ports: Readonly<Record<string, number>>;
  readonly rows: readonly Row[];
}

/** Connections to the host, kept as the results that name them. */
export function connectHost(host: HostAddress, ports: Streams["ports"]): readonly Row[] {
  const calls = Object.entries(ports).map(([as, port]) => ({ as, address: host.address(port) }));
  return dialAll(host.family, calls);
}

/** Makes the pipes and their pumps, and puts the process's ends on descriptors 0 to 2. */
export function connectPipes({ stdin, stdout, stderr }: PipePorts): Streams {
  const end = (pipe: number, side: 0 | 1): Argument => ({
    load: "pipes",
    offset: 8 * pipe + 4 * side,
    width: 4,
  });
  const streams = [
    { name: "stdin", pump: { from: { result: "host-stdin" }, to: end(0, 1) }, process: end(0, 0) },
    {
      name: "stdout",
      pump: { from: end(1, 0), to: { result: "host-stdout" } },
      process: end(1, 1),
    },
    {
      name: "stderr",
      pump: { from: end(2, 0), to: { result: "host-stderr" } },
      process: end(2, 1),
    },
  ] as const;
  const rows = [
    ...streams.map(
      (_, index): Row => ({
        call: "pipe2",
        args: [{ buffer: "pipes", offset: 8 * index }, O_CLOEXEC],
      }),
    ),
    ...streams.flatMap(({ name, pump }) => forkPump(name, pump.from, pump.to)),
    ...streams.map(({ process }, fd): Row => ({ call: "dup3", args: [process, fd, 0] })),
  ];
  return { ports: { "host-stdin": stdin, "host-stdout": stdout, "host-stderr": stderr }, rows };
}

/**
 * Forks the relay of a terminal. Rows that follow send the terminal's master over the socket of
 * result "console" (SCM_RIGHTS, with at least one byte, as an OCI console socket has it). The relay
 * does not keep `foreign` descriptors open.
 */
export function connectTerminal(
  { terminal, windowSize }: TerminalPorts,
  foreign: readonly Argument[],
): Streams {
  const rows: readonly Row[] = [
    {
      call: "socketpair",
      args: [AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, { buffer: "pipes" }],
    },
    { compute: [{ load: "pipes", offset: 4, width: 4 }, "+", 0], as: "console" },
    ...fork("relay", [
      ...[{ result: "console" }, ...foreign].map((fd): Row => ({ call: "close", args: [fd] })),
      ...receiveDescriptor({ load: "pipes", width: 4 }),
      ...forkPump("terminal-input", { result: "host-terminal" }, { result: "master" }),
      ...forkPump("terminal-output", { result: "master" }, { result: "host-terminal" }, [
        // The host sees the end of the output; the other pump still holds the connection.
        { call: "shutdown", args: [1, SHUT_WR] },
      ]),
      // So that the host sees the end of the output.
      { call: "close", args: [{ result: "host-terminal" }] },
      ...pumpWindowSizes(),
    ]),
    { call: "close", args: [{ result: "host-terminal" }] },
    { call: "close", args: [{ result: "host-window-size" }] },
    { call: "close", args: [{ load: "pipes", width: 4 }] },
  ];
  return { ports: { "host-terminal": terminal, "host-window-size": windowSize }, rows };
}

/** recvmsg(2) of one descriptor, kept as result "master". */
function receiveDescriptor(socket: Argument): readonly Row[] {
  const iov = new Uint8Array(16);
  new DataView(iov.buffer).setUint32(8, stdioBuffers["rights-byte"], true);
  const header = msghdr.encode({ msg_iovlen: 1, msg_controllen: CONTROL_BYTES });
  const pointers = {
    [msghdr.offsets.msg_iov]: { struct: iov, pointers: { 0: { buffer: "rights-byte" } } },
    [msghdr.offsets.msg_control]: { buffer: "rights" },
  };
  return [
    { call: "recvmsg", args: [socket, { struct: header, pointers }, MSG_CMSG_CLOEXEC], as: "got" },
    // The launch failed before there was a terminal: nothing to relay.
    { jump: "relay-end", if: [{ result: "got" }, "<=", 0] },
    { compute: [{ load: "rights", offset: 16, width: 4 }, "+", 0], as: "master" },
  ];
}

function pumpWindowSizes(): readonly Row[] {
  const size: Argument = { buffer: "pump" };
  return [
    { label: "window-size" },
    { call: "read", args: [{ result: "host-window-size" }, size, winsize.sizeBytes], as: "sized" },
    { jump: "relay-end", if: [{ result: "sized" }, "!=", winsize.sizeBytes] },
    { call: "ioctl", args: [{ result: "master" }, TIOCSWINSZ, size], ignore: ["EIO"] },
    { jump: "window-size" },
  ];
}

/** Forks a child that copies from one descriptor to another until the first one ends. */
function forkPump(
  name: string,
  from: Argument,
  to: Argument,
  atEnd: readonly Row[] = [],
): readonly Row[] {
  const copy = `pump-${name}`;
  const done: Argument = { load: "pump-done", width: 8 };
  return fork(copy, [
    { call: "dup3", args: [from, 0, 0] },
    { call: "dup3", args: [to, 1, 0] },
    { call: "close_range", args: [2, ALL_FDS, 0] },
    { label: `${copy}-read` },
    {
      call: "read",
      args: [0, { buffer: "pump" }, PUMP_BYTES],
      as: `${copy}-count`,
      onError: `${copy}-ended`,
    },
    { jump: `${copy}-ended`, if: [{ last: true }, "==", 0] },
    { store: { buffer: "pump-done" }, value: 0, width: 8 },
    { label: `${copy}-write` },
    { compute: [{ buffer: "pump" }, "+", done], as: `${copy}-at` },
    { compute: [{ result: `${copy}-count` }, "-", done], as: `${copy}-left` },
    { jump: `${copy}-read`, if: [{ last: true }, "==", 0] },
    { call: "write", args: [1, { result: `${copy}-at` }, { result: `${copy}-left` }] },
    { compute: [{ last: true }, "+", done], as: `${copy}-written` },
    { store: { buffer: "pump-done" }, value: { last: true }, width: 8 },
    { jump: `${copy}-write` },
    { label: `${copy}-ended` },
    ...atEnd,
  ]);
}

/** Runs rows in a child, which exits at "NAME-end" or when a call fails; the parent goes on. */
function fork(name: string, rows: readonly Row[]): readonly Row[] {
  const onError = `${name}-end`;
  return [
    { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: `${name}-pid` },
    { jump: `${name}-parent`, if: [{ last: true }, "!=", 0] },
    ...rows.map((row) => ("call" in row && row.onError === undefined ? { ...row, onError } : row)),
    { label: onError },
    { call: "exit_group", args: [0] },
    { label: `${name}-parent` },
  ];
}
