/** What the process to be frozen does beforehand, so that it has been done once. */
import { syscall } from "../../linux/index.ts";

export function warmUp(): void {
  syscall("getpid");
}
