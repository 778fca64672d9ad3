/**
 * A thread of this process that runs rows (linux/program.ts) instead of JavaScript: it sleeps in system
 * calls for the device thread. An engine for it would cost ten milliseconds and as many megabytes.
 *
 * It is a bare clone(2): no engine and no C library knows it, so no signal may reach it whose handler
 * expects one of theirs, and it may touch no thread-local storage. Rows do neither.
 */
import {
  CLONE_CHILD_CLEARTID,
  CLONE_FILES,
  CLONE_FS,
  CLONE_PARENT_SETTID,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VM,
  FUTEX_WAIT,
  FUTEX_WAKE,
  type LoadedProgram,
  loadProgram,
  type ProgramOutcome,
  programError,
  type Row,
  SIG_SETMASK,
  sigsetSizeBytes,
  syscall,
} from "../../linux/index.ts";

export interface RowThreadPlan {
  /** From the thread's first row on; it ends by `exit`. The label "failed" ends it too. */
  readonly rows: readonly Row[];
  /** Besides "stack", "mask", "tid" and "alive". */
  readonly buffers: Readonly<Record<string, number>>;
  /** The only signals that may interrupt it; their handlers must get along without an engine. */
  readonly signals: readonly number[];
}

const FLAGS =
  CLONE_VM +
  CLONE_FS +
  CLONE_FILES +
  CLONE_SIGHAND +
  CLONE_THREAD +
  CLONE_SYSVSEM +
  CLONE_PARENT_SETTID +
  CLONE_CHILD_CLEARTID;
const ALIVE = 1;
/** Of it, a signal's frame takes most: all of the processor's vector registers. */
const STACK_BYTES = 64 * 1024;

export class RowThread {
  readonly tid: number;
  readonly #loaded: LoadedProgram;
  /** Reads the live block. */
  readonly #live: ProgramOutcome;

  constructor({ rows, buffers, signals }: RowThreadPlan) {
    this.#loaded = loadProgram({
      rows: [
        { call: "rt_sigprocmask", args: [SIG_SETMASK, allBut(signals), { buffer: "mask" }, 8] },
        { store: { buffer: "alive" }, value: ALIVE, width: 4 },
        {
          call: "clone",
          args: [
            FLAGS,
            { buffer: "stack", offset: STACK_BYTES },
            { buffer: "tid" },
            { buffer: "alive" },
            0,
          ],
          onError: "parent",
          note: "start a thread",
        },
        { jump: "thread", if: [{ last: true }, "==", 0] },
        { label: "parent" },
        { call: "rt_sigprocmask", args: [SIG_SETMASK, { buffer: "mask" }, 0, sigsetSizeBytes] },
        { end: { load: "tid", width: 4 } },
        { label: "thread" },
        ...rows,
        { label: "failed" },
        { call: "exit", args: [0] },
      ],
      buffers: { ...buffers, stack: STACK_BYTES, mask: sigsetSizeBytes, tid: 8, alive: 8 },
      onError: "failed",
    });
    this.#live = this.#loaded.run();
    this.tid = this.#live.value;
    const { failure } = this.#live;
    if (failure?.call === "clone") {
      this.#loaded[Symbol.dispose]();
      throw programError(failure);
    }
  }

  /** A buffer as the 32-bit words that thread and host share; Atomics order them. */
  words(buffer: string): Int32Array {
    const bytes = this.#live.buffer(buffer);
    return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  }

  /** What the thread's row of this name returned last. */
  result(name: string): number {
    return this.#live.result(name);
  }

  /** Wakes the thread out of FUTEX_WAIT on the first word of a buffer. */
  wake(buffer: string): void {
    syscall("futex", this.#live.buffer(buffer), FUTEX_WAKE, 1);
  }

  /** Waits for the thread, which has been told to end. */
  join(): void {
    const alive = this.words("alive");
    // The kernel clears the word and wakes us when the thread has left its stack.
    while (Atomics.load(alive, 0) === ALIVE)
      syscall("futex", this.#live.buffer("alive"), FUTEX_WAIT, ALIVE, 0);
    this.#loaded[Symbol.dispose]();
  }
}

function allBut(signals: readonly number[]): Uint8Array {
  const mask = signals.reduce(
    (set, signal) => set & ~(1n << BigInt(signal - 1)),
    0xffff_ffff_ffff_ffffn,
  );
  const bytes = new Uint8Array(sigsetSizeBytes);
  new DataView(bytes.buffer).setBigUint64(0, mask, true);
  return bytes;
}
