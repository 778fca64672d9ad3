/** `run --isolation vm` in the foreground: our streams and terminal, signals, exit status. */
import type { GuestProcess } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import { writeIdFile } from "../id-file.ts";
import { markPhase } from "../phases.ts";
import type { ForegroundRequest, ForegroundResult } from "../run.ts";
import { forwardSignals } from "../signals.ts";
import type { VmContainer } from "./container.ts";
import { serveMonitor } from "./monitor-socket.ts";
import { startVmContainer, type VmOptions } from "./start.ts";
import type { MachineStats } from "./stats.ts";
import { enterRaw, terminalSize } from "./terminal.ts";

export type VmForegroundRequest = ForegroundRequest &
  VmOptions & {
    /** Gets what the CPU has counted, when the machine has ended. */
    readonly onStats?: ((stats: MachineStats) => Promise<void> | void) | undefined;
    /** In the background: who hears that it runs. What it writes goes to its log. */
    readonly report?: ((id: string) => void) | undefined;
  };

export async function runVmForeground(request: VmForegroundRequest): Promise<ForegroundResult> {
  markPhase("program loaded");
  const { container: options, idFile } = request;
  const inBackground = request.report !== undefined;
  const interactive = options.interactive === true;
  if (options.tty && interactive && !inBackground && !process.stdin.isTTY) {
    throw new ContainerError("Cannot use -t: standard input is not a terminal", {
      hint: "leave out -t where there is no terminal, as in scripts and pipes",
      status: 1,
    });
  }
  using signals = forwardSignals(request.forwardSignals ?? true);
  const container = await startVmContainer({
    ...request,
    remove: request.remove ?? false,
    size: terminalSize(),
    onPhase: (phase) => markPhase(phaseWords[phase]),
  });
  markPhase("process started");
  const { record } = container;
  container.keepsStats = request.onStats !== undefined;
  const server = serveMonitor(container);
  try {
    if (idFile !== undefined) writeIdFile(idFile, record.id);
    signals.targetOf((signal) => void container.kill(signal));
    const tty = options.tty === true;
    if (request.report === undefined)
      await attach(container.process, { interactive, tty }, container.status);
    else await inTheBackground(container, request.report, { tty, keepsInput: interactive });
    markPhase("process ended");
  } finally {
    server[Symbol.dispose]();
    await container.finish();
    if (request.onStats !== undefined) await request.onStats(await statsOf(container));
  }
  markPhase("cleaned up");
  return { id: record.id, status: await container.status };
}

/** Input that is asked for stays open, and nobody writes to it. */
async function inTheBackground(
  container: VmContainer,
  report: (id: string) => void,
  { tty, keepsInput }: { readonly tty: boolean; readonly keepsInput: boolean },
): Promise<void> {
  const { leaveTerminal } = await import("../detached/detach.ts");
  const { LogWriter } = await import("../detached/log-writer.ts");
  using log = new LogWriter(container.path("log"));
  report(container.record.id);
  leaveTerminal();
  const output = async (stream: 1 | 2, bytes: Uint8Array) => log.write(stream, bytes);
  const input = { interactive: keepsInput, tty, output };
  await attach(container.process, input, container.status);
}

async function statsOf(container: VmContainer): Promise<MachineStats> {
  const { cpu = "software", reason = "" } = container.record.machine ?? {};
  return { cpu, reason, report: await container.stats().catch(() => undefined) };
}

const phaseWords = {
  kernel: "image and kernel ready",
  agent: "guest booted",
  root: "root and shares mounted",
} as const;

export interface Attachment {
  readonly interactive: boolean;
  readonly tty: boolean;
  readonly makeRaw?: () => Disposable | undefined;
  /** Instead of our own streams; our input is left alone as well. */
  readonly output?: Output;
}

type Output = (stream: 1 | 2, bytes: Uint8Array) => Promise<void>;

/** Carries bytes until the process has ended and its last output is out. */
export async function attach(
  guest: GuestProcess,
  { interactive, tty, makeRaw = enterRaw, output = toOurs }: Attachment,
  status: Promise<unknown>,
): Promise<void> {
  const isOurs = output === toOurs;
  using _raw = isOurs && interactive && tty ? makeRaw() : undefined;
  const resize = (): void => {
    const size = terminalSize();
    if (tty && size !== undefined) guest.resize(size.width, size.height).catch(() => undefined);
  };
  process.on("SIGWINCH", resize);
  resize(); // it may have changed since the process was told
  const kept = { [Symbol.dispose]: () => undefined };
  const input = !interactive ? closeInput(guest, tty) : isOurs ? feed(guest.stdin) : kept;
  try {
    const broken = (): void => undefined; // with its machine, as the status then says
    const outputs = [pump(guest.stdout, 1, output).catch(broken)];
    if (guest.stderr !== undefined) outputs.push(pump(guest.stderr, 2, output).catch(broken));
    // The machine may end with its streams open.
    const failed = status.then(() => Promise.all(outputs));
    await Promise.race([Promise.all([...outputs, status]), failed]);
  } finally {
    process.off("SIGWINCH", resize);
    input[Symbol.dispose]();
  }
}

/** A terminal without input stays as it is; a pipe ends. */
function closeInput(guest: GuestProcess, tty: boolean): Disposable {
  if (!tty) guest.stdin.close().catch(() => undefined); // it may have ended already
  return { [Symbol.dispose]: () => undefined };
}

/** Standard input as it comes, held back while the guest does not read. */
function feed(stdin: WritableStream<Uint8Array>): Disposable {
  const writer = stdin.getWriter();
  const ignore = (): void => undefined; // a process that reads no more, or has ended
  const onData = (bytes: Uint8Array): void => {
    process.stdin.pause();
    writer.write(bytes).then(() => process.stdin.resume(), ignore);
  };
  const onEnd = (): void => void writer.close().catch(ignore);
  process.stdin.on("data", onData);
  process.stdin.once("end", onEnd);
  process.stdin.resume();
  return {
    [Symbol.dispose]() {
      process.stdin.off("data", onData);
      process.stdin.off("end", onEnd);
      process.stdin.pause();
      if ("unref" in process.stdin) process.stdin.unref();
    },
  };
}

async function pump(
  from: ReadableStream<Uint8Array>,
  stream: 1 | 2,
  output: Output,
): Promise<void> {
  for await (const bytes of from) await output(stream, bytes);
}

async function toOurs(stream: 1 | 2, bytes: Uint8Array): Promise<void> {
  const to = stream === 1 ? process.stdout : process.stderr;
  if (to.write(bytes)) return;
  await new Promise<void>((resolve) => {
    to.once("drain", resolve);
    to.once("close", resolve); // nobody reads any more
  });
}
