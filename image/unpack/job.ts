/**
 * One layer to unpack, as plain data that crosses to a worker, and the few numbers that both
 * threads share while it runs.
 */
import type { ByteString } from "../byte-string.ts";
import type { LayerLimits } from "../limits.ts";

export type LayerForm = "overlay" | "flat";

export interface UnpackJob {
  /** File that holds the compressed layer, complete or growing. */
  readonly blobPath: string;
  /** Where the file is once it is complete: a download may end before its unpacking begins. */
  readonly finalPath?: string;
  /** Size of the complete blob. */
  readonly blobBytes: number;
  readonly mediaType: string;
  /** Digest that the decompressed layer must have; undefined to learn it. */
  readonly diffId: string | undefined;
  /** Existing directory that the entries are made in. */
  readonly directory: string;
  readonly form: LayerForm;
  /** Keep owners as the layer has them; otherwise everything is the caller's. */
  readonly chown: boolean;
  /** Mark with `user.overlay.*` instead of `trusted.overlay.*`, for mounts in a user namespace. */
  readonly userXattr: boolean;
  readonly limits: LayerLimits;
  readonly shared: SharedArrayBuffer;
}

/** A hard link to a file that must come from a layer below. */
export interface DeferredLink {
  readonly path: ByteString;
  readonly target: ByteString;
}

export interface UnpackResult {
  readonly diffId: string;
  readonly expandedBytes: number;
  readonly entries: number;
  /** Directories that the layer needs but does not describe; "" is the root. */
  readonly implicitDirectories: readonly ByteString[];
  readonly missingTargets: readonly DeferredLink[];
  readonly warnings: readonly string[];
}

const AVAILABLE = 0;
const CONSUMED = 1;
const STATE = 2;
const GROWING = 0n;
const COMPLETE = 1n;
const ABORTED = 2n;

/** How much of the blob is there, how much is unpacked, and whether to go on. */
export class JobProgress {
  readonly shared: SharedArrayBuffer;
  readonly #numbers: BigInt64Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(24)) {
    this.shared = shared;
    this.#numbers = new BigInt64Array(shared);
  }

  /** The blob's first `bytes` may be read. */
  grow(bytes: number): void {
    Atomics.store(this.#numbers, AVAILABLE, BigInt(bytes));
    Atomics.notify(this.#numbers, AVAILABLE);
  }

  complete(bytes: number): void {
    Atomics.compareExchange(this.#numbers, STATE, GROWING, COMPLETE);
    this.grow(bytes);
  }

  abort(): void {
    Atomics.store(this.#numbers, STATE, ABORTED);
    // A waiter compares with what it saw, so the number must change for it to wake up.
    Atomics.add(this.#numbers, AVAILABLE, 1n);
    Atomics.notify(this.#numbers, AVAILABLE);
  }

  get isAborted(): boolean {
    return Atomics.load(this.#numbers, STATE) === ABORTED;
  }

  get isComplete(): boolean {
    return Atomics.load(this.#numbers, STATE) === COMPLETE;
  }

  get available(): number {
    return Number(Atomics.load(this.#numbers, AVAILABLE));
  }

  get consumed(): number {
    return Number(Atomics.load(this.#numbers, CONSUMED));
  }

  set consumed(bytes: number) {
    Atomics.store(this.#numbers, CONSUMED, BigInt(bytes));
  }

  /** Sleeps until more than `bytes` are there or the state changes; never on the main thread. */
  waitBeyond(bytes: number): void {
    while (!this.isAborted && !this.isComplete && this.available <= bytes)
      Atomics.wait(this.#numbers, AVAILABLE, BigInt(this.available), WAIT_MS);
  }
}

/** Looks again now and then, should a wake-up be lost to a race. */
const WAIT_MS = 250;
