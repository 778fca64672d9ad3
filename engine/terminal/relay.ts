/**
 * Waits for a container, and carries bytes between our terminal and its, in one blocking loop: no
 * streams to load, and nothing that keeps the process from exiting.
 *
 *   our stdin ──► detach keys ──► pending ──► the container's terminal ──► our stdout
 *
 * The loop sleeps in poll(2). A signal interrupts it, and then JavaScript's handlers get their turn.
 */
import {
  call,
  type Fd,
  POLLIN,
  POLLOUT,
  pollfd,
  type SyscallArgument,
  syscall,
} from "../../linux/index.ts";
import { DetachKeys } from "./detach-keys.ts";

const EINTR = -4;
const EAGAIN = -11;
const CHUNK_BYTES = 64 * 1024;
/** Most that is read from stdin before the container takes it. */
const INPUT_BYTES = 4096;
/** A signal just before poll() would wait for the next event; this bounds how long. */
const PATIENCE_MS = 1000;

export interface Relay {
  /** Readable when the container's process has ended. */
  readonly pidfd: Fd;
  /** The outer end of the container's terminal; must not block. */
  readonly terminal?: Fd;
  /** Raw numbers of our own descriptors. */
  readonly stdin?: number;
  readonly stdout?: number;
  readonly detachKeys?: Uint8Array;
  /** stdin is a terminal: its end means that the user has gone. */
  readonly hangsUp?: boolean;
  /** After every signal: the size of our terminal may be another. */
  readonly onSignal?: () => void;
}

/** Resolves when the container's process has ended, or its user has typed the detach keys. */
export async function relay(parts: Relay): Promise<"ended" | "detached"> {
  const state = new RelayState(parts);
  for (;;) {
    const turn = state.turn();
    if (turn === "ended" || turn === "detached") return turn;
    if (turn === "interrupted") {
      await nextTurn();
      parts.onSignal?.();
    }
  }
}

/** Lets signal handlers run. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

class RelayState {
  readonly #parts: Relay;
  readonly #keys: DetachKeys;
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  #pending: Uint8Array = new Uint8Array();
  #stdinOpen: boolean;
  #terminalOpen: boolean;

  constructor(parts: Relay) {
    this.#parts = parts;
    this.#keys = new DetachKeys(parts.detachKeys ?? new Uint8Array());
    this.#stdinOpen = parts.stdin !== undefined;
    this.#terminalOpen = parts.terminal !== undefined;
  }

  turn(): "again" | "interrupted" | "ended" | "detached" {
    const { pidfd, terminal, stdin } = this.#parts;
    const readsInput = this.#stdinOpen && this.#pending.length === 0;
    const ready = poll([
      [pidfd.number, POLLIN],
      [
        this.#terminalOpen ? (terminal?.number ?? -1) : -1,
        this.#pending.length > 0 ? POLLIN | POLLOUT : POLLIN,
      ],
      [readsInput ? (stdin ?? -1) : -1, POLLIN],
    ]);
    if (ready === undefined) return "interrupted";
    const [ended = 0, output = 0, input = 0] = ready;
    if (output !== 0) this.#carryOutput();
    if (ended !== 0) {
      while (this.#carryOutput()); // what the container wrote last
      return "ended";
    }
    if ((output & POLLOUT) !== 0) this.#carryInput();
    if (input !== 0 && this.#readInput() === "detached") return "detached";
    return "again";
  }

  /** True when there may be more. */
  #carryOutput(): boolean {
    const { terminal, stdout = 1 } = this.#parts;
    if (terminal === undefined || !this.#terminalOpen) return false;
    const length = syscall("read", terminal, this.#buffer, CHUNK_BYTES);
    if (length === EAGAIN || length === EINTR) return false;
    // EIO: every process of the container has closed its end
    if (length <= 0) this.#terminalOpen = false;
    else if (!writeAll(stdout, this.#buffer.subarray(0, length))) this.#terminalOpen = false;
    return length > 0;
  }

  #readInput(): "detached" | undefined {
    const { stdin = 0 } = this.#parts;
    const length = syscall("read", stdin, this.#buffer, INPUT_BYTES);
    if (length === EAGAIN || length === EINTR) return undefined;
    if (length <= 0) {
      this.#hangUp();
      return undefined;
    }
    const { pass, detached } = this.#keys.scan(this.#buffer.slice(0, length));
    this.#pending = pass;
    this.#carryInput();
    return detached ? "detached" : undefined;
  }

  /** Our terminal has gone: the container's goes too, and its session gets SIGHUP. */
  #hangUp(): void {
    const { terminal } = this.#parts;
    this.#stdinOpen = false;
    if (!this.#parts.hangsUp) return;
    this.#terminalOpen = false;
    terminal?.close();
  }

  #carryInput(): void {
    const { terminal } = this.#parts;
    if (terminal === undefined || this.#pending.length === 0) return;
    const length = syscall("write", terminal, this.#pending, this.#pending.length);
    if (length > 0) this.#pending = this.#pending.slice(length);
    else if (length !== EAGAIN && length !== EINTR) this.#pending = new Uint8Array();
  }
}

/** Ready events in order, all zero after a time-out; undefined when a signal came. */
function poll(wanted: readonly (readonly [fd: number, events: number])[]): number[] | undefined {
  const bytes = new Uint8Array(wanted.length * pollfd.sizeBytes);
  for (const [index, [fd, events]] of wanted.entries()) {
    bytes.set(pollfd.encode({ fd, events }), index * pollfd.sizeBytes);
  }
  const count = syscall("poll", bytes, wanted.length, PATIENCE_MS);
  if (count === EINTR || count === 0) return undefined;
  if (count < 0) call("poll", bytes, wanted.length, 0);
  return wanted.map((_, index) => {
    const start = index * pollfd.sizeBytes;
    return pollfd.decode(bytes.subarray(start, start + pollfd.sizeBytes)).revents;
  });
}

/** False when nobody reads any more. */
export function writeAll(fd: SyscallArgument, bytes: Uint8Array): boolean {
  let rest = bytes;
  while (rest.length > 0) {
    const length = syscall("write", fd, rest, rest.length);
    if (length > 0) rest = rest.subarray(length);
    else if (length === EAGAIN && typeof fd === "number") {
      const ready = new Uint8Array(pollfd.encode({ fd, events: POLLOUT }));
      syscall("poll", ready, 1, PATIENCE_MS);
    } else if (length !== EINTR) return false;
  }
  return true;
}
