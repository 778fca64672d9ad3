/** `run` in the foreground: our own descriptors, signals forwarded, exit status passed on. */
import {
  call,
  F_GETFL,
  F_SETFL,
  type Fd,
  O_NONBLOCK,
  syscall,
  TIOCSWINSZ,
  winsize,
} from "../linux/index.ts";
import { waitForChild } from "../runtime/index.ts";
import { ContainerError } from "./errors.ts";
import { writeIdFile } from "./id-file.ts";
import { cleanUp, type Launched, launch } from "./launch.ts";
import type { ContainerOptions, PullPolicy } from "./options.ts";
import { markPhase } from "./phases.ts";
import { openPlaces, type Places } from "./places.ts";
import { discard, type Prepared, prepareContainer } from "./prepare.ts";
import type { OnProgress } from "./progress.ts";
import { resolveImage } from "./resolve-image.ts";
import { forwardSignals } from "./signals.ts";
import { sweep } from "./sweep.ts";
import { keepContainer } from "./terminal/keeper.ts";
import { enterRawMode, isTerminal, terminalSize } from "./terminal/raw-mode.ts";
import { relay } from "./terminal/relay.ts";

export interface ForegroundRequest {
  readonly image: string;
  readonly container: ContainerOptions;
  readonly root?: string | undefined;
  readonly name?: string | undefined;
  readonly remove?: boolean;
  readonly pull?: PullPolicy | undefined;
  readonly platform?: string | undefined;
  readonly idFile?: string | undefined;
  readonly detachKeys?: Uint8Array | undefined;
  readonly forwardSignals?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** All is fetched and prepared: from here on the terminal belongs to the container. */
  readonly onReady?: (() => void) | undefined;
}

export interface ForegroundResult {
  readonly id: string;
  /** Exit status as a shell reports it; undefined when the user detached. */
  readonly status: number | undefined;
}

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const DEFAULT_DETACH_KEYS = Uint8Array.of(16, 17); // ctrl-p ctrl-q

export async function runForeground(request: ForegroundRequest): Promise<ForegroundResult> {
  markPhase("program loaded");
  const { container: options } = request;
  if (options.tty && options.interactive && !isTerminal(STDIN)) {
    throw new ContainerError("Cannot use -t: standard input is not a terminal", {
      hint: "leave out -t where there is no terminal, as in scripts and pipes",
      status: 1,
    });
  }
  const places = openPlaces(request.root);
  using _store = places.store;
  const prepared = await prepareRun(places, request);
  return await supervise(places, prepared, request);
}

/** Everything but the process. */
export async function prepareRun(places: Places, request: ForegroundRequest): Promise<Prepared> {
  const { container: options, image: imageName } = request;
  sweep(places);
  const record = await resolveImage(places, imageName, request);
  const lease = await places.store.lease();
  markPhase("image found");
  let prepared: Prepared;
  try {
    const config = places.store.images.config(record);
    const autoRemove = request.remove ?? false;
    prepared = prepareContainer(places, record, config, options, {
      name: request.name,
      autoRemove,
      imageName,
    });
  } finally {
    lease[Symbol.dispose]();
  }
  markPhase("files and configuration made");
  request.onReady?.();
  return prepared;
}

async function supervise(
  places: Places,
  prepared: Prepared,
  request: ForegroundRequest,
): Promise<ForegroundResult> {
  const { record, lock } = prepared;
  const { id } = record;
  const { container: options, idFile } = request;
  let launched: Launched;
  using signals = forwardSignals(request.forwardSignals ?? true);
  try {
    if (idFile !== undefined) writeIdFile(idFile, id);
    launched = launch(places, prepared, {
      stdin: options.interactive ? STDIN : undefined,
      stdout: STDOUT,
      stderr: STDERR,
      init: options.init ?? false,
      size: terminalSize(STDIN) ?? terminalSize(STDOUT),
    });
  } catch (error) {
    discard(places, record, lock);
    throw error;
  }
  const { container } = launched;
  markPhase("launch program run");
  signals.target(container.pidfd);
  const end = await attend(launched, request);
  if (end === "detached" && launched.terminal !== undefined) {
    keepContainer(launched.terminal, lock, container.pidfd);
    return { id, status: undefined };
  }
  const { code } = waitForChild(container.pid);
  markPhase("process ended");
  container.pidfd.close();
  launched.terminal?.close();
  cleanUp(container);
  if (record.autoRemove) discard(places, record, lock);
  else {
    places.containers.write({ ...record, exitStatus: code, finishedAt: new Date().toISOString() });
    places.containers.release(places.containers.runningPath(id));
    lock.close();
  }
  markPhase("cleaned up");
  return { id, status: code };
}

/** Carries bytes, if there is a terminal, until the end. */
export async function attend(
  { container, terminal }: { readonly container: { readonly pidfd: Fd }; readonly terminal?: Fd },
  {
    container: options,
    detachKeys = DEFAULT_DETACH_KEYS,
  }: {
    readonly container: Pick<ContainerOptions, "interactive">;
    readonly detachKeys?: Uint8Array | undefined;
  },
): Promise<"ended" | "detached"> {
  const { pidfd } = container;
  if (terminal === undefined) return relay({ pidfd });
  setNonBlocking(terminal);
  const interactive = options.interactive === true;
  using _raw = interactive ? enterRawMode(STDIN) : undefined;
  const onSignal = (): void => copySize(terminal);
  onSignal();
  // awaited here: the terminal stays raw until then
  return await relay({
    pidfd,
    terminal,
    stdout: STDOUT,
    onSignal,
    ...(interactive && { stdin: STDIN, detachKeys, hangsUp: true }),
  });
}

function setNonBlocking(fd: Fd): void {
  call("fcntl", fd, F_SETFL, call("fcntl", fd, F_GETFL, 0) | O_NONBLOCK);
}

function copySize(terminal: Fd): void {
  const size = terminalSize(STDIN) ?? terminalSize(STDOUT);
  if (size === undefined) return;
  const { height, width } = size;
  syscall("ioctl", terminal, TIOCSWINSZ, winsize.encode({ ws_row: height, ws_col: width }));
}
