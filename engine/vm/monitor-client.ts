/** Asks a machine's monitor for something: another process in its container, or its end. */
import { connect, type Socket } from "node:net";
import { constants } from "node:os";
import { encodeFrame, encodeJsonFrame, type Failure, frameKinds } from "../../runtime/index.ts";
import type { ContainerRecord } from "../containers/directory.ts";
import { ContainerError } from "../errors.ts";
import { forwardSignals } from "../signals.ts";
import { FrameReader } from "./monitor-frames.ts";
import { enterRaw, terminalSize } from "./terminal.ts";

export interface MachineExec {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd?: string | undefined;
  readonly user?: string | undefined;
  readonly tty: boolean;
  readonly interactive: boolean;
}

/** On our own streams and terminal. @returns the exit status as a shell reports it */
export async function execInMachine(record: ContainerRecord, exec: MachineExec): Promise<number> {
  const { args, env, cwd, user, tty, interactive } = exec;
  const size = terminalSize();
  const socket = await dial(record);
  const result = relayProcess(socket, { tty, interactive, enterRaw });
  socket.write(
    encodeJsonFrame(frameKinds.request, {
      kind: "exec",
      args,
      env,
      tty,
      interactive,
      ...(cwd !== undefined && { cwd }),
      ...(user !== undefined && { user }),
      ...(size !== undefined && tty && { size }),
    }),
  );
  return await result;
}

export interface RelayOptions {
  readonly tty: boolean;
  readonly interactive: boolean;
  readonly enterRaw: () => Disposable | undefined;
  /** The process was started before this socket came to us. */
  readonly isRunning?: boolean;
  /** Signals insist by themselves: SIGKILL after so many tries. */
  readonly patience?: number;
}

/** Carries bytes, sizes and signals between us and a process that is asked for on `socket`. */
export async function relayProcess(
  socket: Socket,
  { tty, interactive, enterRaw: makeRaw, isRunning, patience }: RelayOptions,
): Promise<number> {
  using signals = forwardSignals(true, patience);
  signals.targetOf((signal) => socket.write(encodeJsonFrame(frameKinds.signal, { signal })));
  const onResize = (): void => {
    const now = terminalSize();
    if (tty && now !== undefined) socket.write(encodeJsonFrame(frameKinds.resize, now));
  };
  process.on("SIGWINCH", onResize);
  const result = answerOf(socket, {
    onStarted: onResize, // it may have changed meanwhile
    onOutput: (bytes) => process.stdout.write(bytes),
    onErrors: (bytes) => process.stderr.write(bytes),
  });
  if (isRunning) onResize();
  const input = interactive ? feedSocket(socket) : undefined;
  using _raw = interactive && tty ? makeRaw() : undefined;
  try {
    return await result;
  } finally {
    process.off("SIGWINCH", onResize);
    input?.[Symbol.dispose]();
    socket.destroy();
  }
}

/** Kills the container's first process; its machine goes with it. */
export async function killMachine(
  record: ContainerRecord,
  signal: number = constants.signals.SIGKILL,
): Promise<void> {
  const socket = await dial(record);
  const result = answerOf(socket, {});
  socket.write(encodeJsonFrame(frameKinds.request, { kind: "kill", signal }));
  await result.catch(() => undefined); // the machine may be gone before it has answered
  socket.destroy();
}

/** A machine that has just been started opens its door when its process runs. */
const PATIENCE_MS = 30_000;
const POLL_MS = 50;

async function dial({ machine, name }: ContainerRecord): Promise<Socket> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await tryDial(machine?.socket ?? "");
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const mayCome = code === "ENOENT" || code === "ECONNREFUSED";
      if (!mayCome || Date.now() > end)
        throw new ContainerError(`Cannot reach the monitor of "${name}"`, {
          cause,
          hint: "it runs in a virtual machine whose monitor is gone or does not answer",
        });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function tryDial(path: string): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  return socket;
}

interface Events {
  readonly onStarted?: () => void;
  readonly onOutput?: (bytes: Uint8Array) => void;
  readonly onErrors?: (bytes: Uint8Array) => void;
}

function answerOf(socket: Socket, events: Events): Promise<number> {
  return new Promise((resolve, reject) => {
    const lost = (): void =>
      reject(new ContainerError("The virtual machine ended before its process did"));
    const frames = new FrameReader((kind, payload) => {
      if (kind === frameKinds.started) events.onStarted?.();
      else if (kind === frameKinds.output) events.onOutput?.(payload);
      else if (kind === frameKinds.errors) events.onErrors?.(payload);
      else if (kind === frameKinds.failed) reject(failureOf(payload));
      else if (kind === frameKinds.exited)
        // SAFE: our own monitor's
        resolve((JSON.parse(payload.toString()) as { status: number }).status);
    });
    socket.on("data", (bytes: Buffer) => frames.push(bytes));
    // Half-open: the monitor's end is not yet ours.
    socket.once("end", lost);
    socket.once("close", lost);
    socket.once("error", lost);
  });
}

function failureOf(payload: Buffer): ContainerError {
  // SAFE: our own monitor's
  const { message, causes, status } = JSON.parse(payload.toString()) as Failure;
  const cause = causes.reduceRight<Error | undefined>(
    (inner, text) => new Error(text, inner && { cause: inner }),
    undefined,
  );
  return new ContainerError(message, { status, ...(cause !== undefined && { cause }) });
}

function feedSocket(socket: Socket): Disposable {
  const onData = (bytes: Uint8Array): void => {
    if (socket.write(encodeFrame(frameKinds.input, bytes))) return;
    process.stdin.pause();
    socket.once("drain", () => process.stdin.resume());
  };
  const onEnd = (): void => void socket.write(encodeFrame(frameKinds.inputEnd));
  process.stdin.on("data", onData);
  process.stdin.once("end", onEnd);
  return {
    [Symbol.dispose]() {
      process.stdin.off("data", onData);
      process.stdin.off("end", onEnd);
      process.stdin.pause();
      process.stdin.unref?.();
    },
  };
}
