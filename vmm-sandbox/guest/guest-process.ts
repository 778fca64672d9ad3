/** A process in the guest: its launch, its streams, its end. */
import { setTimeout } from "node:timers/promises";
import {
  encodeProgram,
  type Program,
  type ProgramFailure,
  type Row,
  readOutcome,
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
}

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
    super(`Cannot start the process in the guest: ${failure.call} failed with ${failure.errno}`);
    this.failure = failure;
  }
}

const REPORT_BYTES = 64;
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
  const process = await spawn(kernel, host, report, launch, connectPipes(host, ports));
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
  const connect = connectTerminal(host, ports, [{ result: "report" }]);
  const process = await spawn(kernel, host, report, launch, connect);
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
  connect: readonly Row[],
): Promise<Pick<GuestProcess, "pid" | "exited" | "kill">> {
  const program: Program = {
    rows: [
      ...connectHost(host, report.port, "report"),
      ...connect,
      ...launch.rows,
      { label: "launch-failed" },
      { call: "write", args: [{ result: "report" }, { buffer: "header" }, REPORT_BYTES] },
      { end: launchFailed },
    ],
    buffers: { ...stdioBuffers, ...launch.buffers },
    onError: "launch-failed",
  };
  const { pid, exited } = await kernel.spawn(program);
  const ended = exited.then(async () => {
    await setTimeout(reportGraceMs); // its connections may still be on their way
    throw new GuestError("The process in the guest ended before it could dial the host");
  });
  ended.catch(() => undefined); // counts only while the report is awaited
  await checkReport(await Promise.race([report.connection, ended]), program);
  const kill = async (signal: number) => {
    await kernel.run({ rows: [{ call: "kill", args: [pid, signal], ignore: ["ESRCH"] }] });
  };
  return { pid, exited, kill };
}

/** The report's connection closes on execve; bytes on it are the header of the block that failed. */
async function checkReport(connection: Connection, program: Program): Promise<void> {
  const header = await new ByteQueue(connection.readable).takeAll(REPORT_BYTES);
  await connection.writable.close().catch(() => undefined); // the guest's end is closed already
  if (header.length === 0) return;
  const encoded = encodeProgram(program);
  const block = new Uint8Array(encoded.sizeBytes);
  encoded.write(block, ARENA_ADDRESS);
  block.set(header);
  const { failure } = readOutcome(program, encoded, block, launchFailed);
  if (failure === undefined) throw new GuestError("The guest's launch failed without saying why");
  throw new GuestLaunchError(failure);
}
