/**
 * The outer end of a container's terminal, joined to the terminal we run in.
 *
 * The loop blocks in poll(2) and not in the event loop: it works alike on Node and Bun, costs
 * nothing while idle, and a signal ends poll with EINTR, whereupon `onSignal` lets handlers run.
 */
import {
  call,
  ECHO,
  type Fd,
  ICANON,
  ICRNL,
  ISIG,
  IXON,
  OPOST,
  POLLERR,
  POLLHUP,
  POLLIN,
  pollfd,
  syscall,
  TCGETS,
  TCSETSW,
  TIOCGWINSZ,
  TIOCSWINSZ,
  termios,
  winsize,
} from "../linux/index.ts";

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

const chunkSize = 32 * 1024;
const EINTR = -4;
const EAGAIN = -11;
const controlCharactersOffset = 17;
const VTIME = 5;
const VMIN = 6;
/** termbits.h: flags that termios(3), "Raw mode" clears beside those imported. */
const inputFlags = ICRNL | IXON | 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80;
const localFlags = ECHO | ICANON | ISIG | 0x40 | 0x8000;

/** undefined when the descriptor is no terminal. */
export function terminalSize(fd: number): TerminalSize | undefined {
  const bytes = new Uint8Array(winsize.sizeBytes);
  if (syscall("ioctl", fd, TIOCGWINSZ, bytes) < 0) return undefined;
  const { ws_row, ws_col } = winsize.decode(bytes);
  return { rows: ws_row, columns: ws_col };
}

export function resizeTerminal(fd: number, { rows, columns }: TerminalSize): void {
  syscall("ioctl", fd, TIOCSWINSZ, winsize.encode({ ws_row: rows, ws_col: columns }));
}

export function copyTerminalSize(from: number, to: number): void {
  const size = terminalSize(from);
  if (size !== undefined) resizeTerminal(to, size);
}

/** What `restore` brings back; undefined when the descriptor is no terminal. */
export interface SavedTerminal extends Disposable {
  /** For whoever must restore it from elsewhere: the kernel's struct termios. */
  readonly settings: Uint8Array;
}

/** cfmakeraw(3): every byte goes through as it is. */
export function makeRaw(fd: number): SavedTerminal | undefined {
  const settings = new Uint8Array(termios.sizeBytes);
  if (syscall("ioctl", fd, TCGETS, settings) < 0) return undefined;
  const old = termios.decode(settings);
  const characters = Uint8Array.from(old.c_cc);
  characters[VMIN] = 1;
  characters[VTIME] = 0;
  const raw = termios.encode({
    ...old,
    c_iflag: old.c_iflag & ~inputFlags,
    c_oflag: old.c_oflag & ~OPOST,
    c_lflag: old.c_lflag & ~localFlags,
    c_cc: characters,
  });
  if (characters.length + controlCharactersOffset !== termios.sizeBytes)
    throw new Error("struct termios has another size than its table");
  call("ioctl", fd, TCSETSW, raw);
  return { settings, [Symbol.dispose]: () => void syscall("ioctl", fd, TCSETSW, settings) };
}

export interface RelayOptions {
  /** Outer end of the container's terminal. */
  readonly master: Fd;
  readonly input: number;
  readonly output: number;
  /** Readable when the container's process has ended. */
  readonly pidfd: Fd;
  /** Called after a signal has interrupted the wait; lets the event loop run its handlers. */
  onSignal(): Promise<void>;
  /** Bytes that detach when typed one after another: ctrl-p ctrl-q is 16 17. */
  readonly detachKeys?: readonly number[];
}

export type RelayEnd = "exited" | "detached";

/** Copies both ways until the process has ended and its last output is written. */
export async function relayTerminal(options: RelayOptions): Promise<RelayEnd> {
  const { master, input, output, pidfd } = options;
  const detach = new DetachKeys(options.detachKeys ?? []);
  const buffer = new Uint8Array(chunkSize);
  const patience = new Patience(options.onSignal);
  let reading = true;
  for (;;) {
    const ready = await patience.poll([master.number, pidfd.number, ...(reading ? [input] : [])]);
    if (ready === undefined) continue;
    const [fromMaster = 0, ended = 0, fromInput = 0] = ready;
    if (fromMaster !== 0) {
      const count = syscall("read", master, buffer, buffer.length);
      if (count > 0) writeAll(output, buffer.subarray(0, count));
      else if (count !== EAGAIN && count !== EINTR) {
        if (ended !== 0) return "exited";
        // EIO: nobody has the inner end open now; that may change, or the process ends.
        poll([pidfd.number], 10);
      }
      continue;
    }
    if (ended !== 0) return "exited";
    if (fromInput === 0) continue;
    const count = syscall("read", input, buffer, buffer.length);
    if (count <= 0) {
      reading = false;
      continue;
    }
    const { bytes, detached } = detach.filter(buffer.subarray(0, count));
    if (bytes.length > 0) writeAll(master.number, bytes);
    if (detached) return "detached";
  }
}

/** Blocks until the process has ended; signals run their handlers meanwhile. */
export async function waitWithSignals(pidfd: Fd, onSignal: () => Promise<void>): Promise<void> {
  const patience = new Patience(onSignal);
  while ((await patience.poll([pidfd.number])) === undefined);
}

/**
 * Waits that let handlers of signals run. One that comes shortly before a wait, or on another of our
 * threads, does not interrupt it, so each is bounded: by 10 ms at first, when the container may signal
 * as soon as it runs, later by a second.
 */
class Patience {
  static readonly firstMs = 10;
  static readonly lastMs = 1000;
  readonly #onSignal: () => Promise<void>;
  #ms = Patience.firstMs;

  constructor(onSignal: () => Promise<void>) {
    this.#onSignal = onSignal;
  }

  /** undefined when none became ready: wait again. */
  async poll(fds: readonly number[]): Promise<readonly number[] | undefined> {
    const ready = poll(fds, this.#ms);
    if (ready?.some((events) => events !== 0)) return ready;
    this.#ms = ready === undefined ? Patience.firstMs : Math.min(2 * this.#ms, Patience.lastMs);
    await this.#onSignal();
    return undefined;
  }
}

/** Which of the descriptors are ready; undefined after a signal. */
function poll(fds: readonly number[], timeoutMs: number): readonly number[] | undefined {
  const table = new Uint8Array(fds.length * pollfd.sizeBytes);
  fds.forEach((fd, index) => {
    table.set(pollfd.encode({ fd, events: POLLIN }), index * pollfd.sizeBytes);
  });
  const count = syscall("poll", table, fds.length, timeoutMs);
  if (count === EINTR) return undefined;
  if (count < 0) call("poll", table, fds.length, 0);
  return fds.map((_, index) => {
    const { revents } = pollfd.decode(table, index * pollfd.sizeBytes);
    return revents & (POLLIN | POLLHUP | POLLERR);
  });
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let rest = bytes;
  while (rest.length > 0) {
    const count = syscall("write", fd, rest, rest.length);
    if (count > 0) rest = rest.subarray(count);
    else if (count === EAGAIN) syscall("poll", pollfd.encode({ fd, events: 4 }), 1, -1);
    else if (count !== EINTR) return; // the reader has gone; the process is not told
  }
}

/** Watches for a sequence of bytes; what turns out not to be it is passed on. */
export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  filter(input: Uint8Array): { readonly bytes: Uint8Array; readonly detached: boolean } {
    if (this.#keys.length === 0) return { bytes: input, detached: false };
    const passed: number[] = [];
    for (const byte of input) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched += 1;
        if (this.#matched === this.#keys.length) {
          this.#matched = 0;
          return { bytes: Uint8Array.from(passed), detached: true };
        }
        continue;
      }
      passed.push(...this.#keys.slice(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) passed.push(byte);
    }
    return { bytes: Uint8Array.from(passed), detached: false };
  }
}
