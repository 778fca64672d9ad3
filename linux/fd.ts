/** Owned file descriptors. */
import { call, type SyscallArgument, syscall } from "./kernel.ts";
import type { SyscallName } from "./syscalls.ts";

/** Closed exactly once: by `close`, by `using`, or by whoever calls `release`. */
export class Fd implements Disposable {
  #number: number;

  private constructor(number: number) {
    this.#number = number;
  }

  /** Takes ownership of a raw number. */
  static take(number: number): Fd {
    if (!Number.isInteger(number) || number < 0)
      throw new RangeError(`Expected a file descriptor, got ${number}`);
    return new Fd(number);
  }

  /** A system call whose result is a new descriptor. */
  static from(name: SyscallName, ...args: readonly SyscallArgument[]): Fd {
    return new Fd(call(name, ...args));
  }

  get number(): number {
    if (this.#number < 0) throw new Error("Cannot use a file descriptor that is closed");
    return this.#number;
  }

  get isOpen(): boolean {
    return this.#number >= 0;
  }

  /** Gives the raw number away; this object is empty afterwards. */
  release(): number {
    const { number } = this;
    this.#number = -1;
    return number;
  }

  close(): void {
    // close(2): the descriptor is gone whatever the call returns, so it is never repeated.
    if (this.#number >= 0) syscall("close", this.release());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
