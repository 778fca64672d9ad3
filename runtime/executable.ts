/** Where the executable that we are part of lies: in a thawed process, the door's link says another. */
import { readLink } from "./files.ts";

const own = "/proc/self/exe";
let path = own;

export function executablePath(): string {
  return path;
}

/** From now on by name, as the process will go on elsewhere. */
export function rememberExecutable(): void {
  path = readLink(own);
}
