/** A process in the guest: its launch, its streams, its end. */
import { setTimeout } from "node:timers/promises";
import {
  CLONE_PARENT,
  encodeProgram,
  type Program,
  type ProgramFailure,
  type Row,
  readOutcome,
  SIGCHLD,
  winsize,
} from "../../linux/index.ts";
import { ByteQueue } from "./byte-queue.ts";
import { ARENA_ADDRESS } from "./protocol.ts";
import type { Connection, RemoteKernel } from "./remote-kernel.ts";
import { GuestError } from "./remote-kernel.ts";
import {
  connectHost,
  connectPipes,
  connectTerminal,
  type HostAddress,
  type Streams,
  stdioBuffers,
} from "./stdio-program.ts";

/** A port that waits for one connection; disposing it gives up on one that has not come. */
export interface PendingConnection extends Disposable {
  readonly port: number;
  readonly connection: Promise<Connection>;
}

/** The host's end of the guest's connections. */
export interface HostPorts extends HostAddress {
  /** Reserves a port for the next connection that the guest makes. */
  accept(): PendingConnection;
}

export interface GuestLaunch {
  /**
   * What to do in the child, up to and with execve. With a terminal, the rows send its master over
   * the socket of result "console".
   */
  readonly rows: readonly Row[];
  readonly buffers?: Readonly<Record<string, number>>;
  readonly terminal: boolean;
  /**
   * CLONE_NEW*: the rows run in a child that the agent itself reaps, the first process of these
   * namespaces. 0: in a child of the same namespaces, as setns(2) of a PID namespace needs it.
   */
  readonly cloneFlags?: number;
  /** Rows before that child is made. */
  readonly before?: readonly Row[];
}

/** Result under which rows find the descriptor that failures are reported to. */
export const REPORT = "report";

export interface GuestProcess {
  readonly pid: number;
  /** Of a terminal, stdin and stdout are its two directions and stderr is missing. */
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array> | undefined;
  /** Status as wait(2) has it. */
  readonly exited: Promise<number>;
  resize(columns: number, rows: number): Promise<void>;
  kill(signal: number): Promise<void>;
}

/** A row of the launch failed in the guest. */
export class GuestLaunchError extends GuestError {
  readonly failure: ProgramFailure;
  constructor(failure: ProgramFailure) {
    const what = failure.note === undefined ? failure.call : `${failure.call} (${failure.note})`;
    super(`Cannot start the process in the guest: ${what} failed with ${failure.errno}`);
    this.failure = failure;
  }
}

/** The rows said themselves what is wrong: a code and a value, whose meaning is theirs. */
export class GuestRefusal extends GuestError {
  readonly code: number;
  readonly value: number;
  constructor(code: number, value: number) {
    super(`Cannot start the process in the guest: its launch refused with code ${code}, ${value}`);
    this.code = code;
    this.value = value;
  }
}

const REPORT_BYTES = 64;
/** u32 code, u32 value: as the runtime's launch programs speak (runtime/launch/sync.ts). */
const MESSAGE_BYTES = 8;
/** Code of the message that says which process was made. */
const PROCESS_MADE = 1;
const launchFailed = 127;
const reportGraceMs = 1000;

/** Starts a process in the guest; resolves once it executes, or rejects with what failed. */
export async function startGuestProcess(
  kernel: RemoteKernel,
  host: HostPorts,
  launch: GuestLaunch,
): Promise<GuestProcess> {
  using report = host.accept();
  return launch.terminal
    ? await startWithTerminal(kernel, host, launch, report)
    : await startWithPipes(kernel, host, launch, report);
}

async function startWithPipes(
  kernel: RemoteKernel,
  host: HostPorts,
  launch: GuestLaunch,
  report: PendingConnection,
): Promise<GuestProcess> {
  using stdin = host.accept();
  using stdout = host.accept();
  using stderr = host.accept();
  const ports = { stdin: stdin.port, stdout: stdout.port, stderr: stderr.port };
  const process = await spawn(kernel, host, report, launch, connectPipes(ports));
  return {
    ...process,
    stdin: (await stdin.connection).writable,
    stdout: (await stdout.connection).readable,
    stderr: (await stderr.connection).readable,
    resize: () => Promise.reject(new GuestError("Cannot resize: the process has no terminal")),
  };
}

async function startWithTerminal(
  kernel: RemoteKernel,
  host: HostPorts,
  launch: GuestLaunch,
  report: PendingConnection,
): Promise<GuestProcess> {
  using terminal = host.accept();
  using windowSize = host.accept();
  const ports = { terminal: terminal.port, windowSize: windowSize.port };
  const streams = connectTerminal(ports, [{ result: REPORT }]);
  const process = await spawn(kernel, host, report, launch, streams);
  const { readable: stdout, writable: stdin } = await terminal.connection;
  const sizes = (await windowSize.connection).writable.getWriter();
  const resize = (columns: number, rows: number) =>
    sizes.write(winsize.encode({ ws_row: rows, ws_col: columns }));
  return { ...process, stdin, stdout, stderr: undefined, resize };
}

async function spawn(
  kernel: RemoteKernel,
  host: HostPorts,
  report: PendingConnection,
  launch: GuestLaunch,
  streams: Streams,
): Promise<Pick<GuestProcess, "pid" | "exited" | "kill">> {
  const program: Program = {
    rows: [
      ...connectHost(host, { [REPORT]: report.port, ...streams.ports }),
      ...streams.rows,
      ...(launch.before ?? []),
      ...cloneProcess(launch.cloneFlags),
      ...launch.rows,
      { label: "launch-failed" },
      { call: "write", args: [{ result: REPORT }, { buffer: "header" }, REPORT_BYTES] },
      { end: launchFailed },
    ],
    buffers: { ...stdioBuffers, "process-pid": MESSAGE_BYTES, ...launch.buffers },
    onError: "launch-failed",
  };
  const { pid, exited } = await kernel.spawn(program);
  const ended = exited.then(async () => {
    await setTimeout(reportGraceMs); // its connections may still be on their way
    throw new GuestError("The process in the guest ended before it could dial the host");
  });
  ended.catch(() => undefined); // counts only while the report is awaited
  const connection = await Promise.race([report.connection, ended]);
  const inner = await checkReport(connection, program);
  if (inner === undefined) return { pid, exited, kill: killer(kernel, pid) };
  return { pid: inner, exited: kernel.exitOf(inner), kill: killer(kernel, inner) };
}

function killer(kernel: RemoteKernel, pid: number): GuestProcess["kill"] {
  return async (signal) => {
    await kernel.run({ rows: [{ call: "kill", args: [pid, signal], ignore: ["ESRCH"] }] });
  };
}

/** The spawned process makes the real one, says who it is, and ends; the agent adopts the child. */
function cloneProcess(flags: number | undefined): readonly Row[] {
  if (flags === undefined) return [];
  return [
    { call: "clone", args: [flags + CLONE_PARENT + SIGCHLD, 0, 0, 0, 0], as: "process" },
    { jump: "process-inside", if: [{ last: true }, "==", 0] },
    { store: { buffer: "process-pid" }, value: PROCESS_MADE, width: 4 },
    { store: { buffer: "process-pid", offset: 4 }, value: { result: "process" }, width: 4 },
    { call: "write", args: [{ result: REPORT }, { buffer: "process-pid" }, MESSAGE_BYTES] },
    { call: "exit_group", args: [0] },
    { label: "process-inside" },
  ];
}

/**
 * The report's connection closes on execve. Before that: which process was made, if one was, then
 * nothing, a refusal, or the header of the block that failed. @returns the PID of the process made
 */
async function checkReport(connection: Connection, program: Program): Promise<number | undefined> {
  const all = await new ByteQueue(connection.readable).takeAll(MESSAGE_BYTES + REPORT_BYTES);
  await connection.writable.close().catch(() => undefined); // the guest's end is closed already
  const view = new DataView(all.buffer, all.byteOffset, all.length);
  let at = 0;
  let pid: number | undefined;
  if (all.length % REPORT_BYTES >= MESSAGE_BYTES && view.getUint32(0, true) === PROCESS_MADE) {
    pid = view.getUint32(4, true);
    at = MESSAGE_BYTES;
  }
  if (all.length === at) return pid;
  if (all.length === at + MESSAGE_BYTES)
    throw new GuestRefusal(view.getUint32(at, true), view.getUint32(at + 4, true));
  const encoded = encodeProgram(program);
  const block = new Uint8Array(encoded.sizeBytes);
  encoded.write(block, ARENA_ADDRESS);
  block.set(all.subarray(at));
  const { failure } = readOutcome(program, encoded, block, launchFailed);
  if (failure === undefined) throw new GuestError("The guest's launch failed without saying why");
  throw new GuestLaunchError(failure);
}
