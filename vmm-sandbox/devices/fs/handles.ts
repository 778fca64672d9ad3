/** Files and directories that the guest has open. */
import type { Fd } from "../../../linux/index.ts";
import { FuseError } from "./fuse-error.ts";

/** Each is a descriptor of this process. */
export const MAX_HANDLES = 4096;

export interface Handle {
  readonly fd: Fd;
  readonly isDirectory: boolean;
}

export class Handles implements Disposable {
  readonly #open = new Map<number, Handle>();
  #next = 1;

  get size(): number {
    return this.#open.size;
  }

  add(handle: Handle): number {
    if (this.#open.size >= MAX_HANDLES) {
      handle.fd.close();
      throw new FuseError("ENFILE");
    }
    const number = this.#next++;
    this.#open.set(number, handle);
    return number;
  }

  get(number: bigint, isDirectory: boolean): Fd {
    const handle = this.#open.get(Number(number));
    if (handle?.isDirectory !== isDirectory) throw new FuseError("EBADF");
    return handle.fd;
  }

  release(number: bigint): void {
    this.#open.get(Number(number))?.fd.close();
    this.#open.delete(Number(number));
  }

  releaseAll(): void {
    for (const { fd } of this.#open.values()) fd.close();
    this.#open.clear();
  }

  [Symbol.dispose](): void {
    this.releaseAll();
  }
}
