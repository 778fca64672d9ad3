/** Refusals of the FUSE server. */
import type { Errno } from "../../../linux/index.ts";

/** A request that is answered with an error number, for a reason of ours and not the kernel's. */
export class FuseError extends Error {
  override readonly name = "FuseError";
  readonly code: Errno;
  constructor(code: Errno) {
    super(`The guest's request is refused with ${code}`);
    this.code = code;
  }
}
