/** Whether we may do on this host what root may. */
import { readTextIfThere } from "./files.ts";

/** user_namespaces(7): how many IDs the first user namespace maps. */
const everyId = "4294967295";
let isMapped: boolean | undefined;

/** Also root of a user namespace, as rootless engines are, is an ordinary user to the host. */
export function isOrdinaryUser(): boolean {
  if (process.geteuid?.() !== 0) return true;
  isMapped ??= readTextIfThere("/proc/self/uid_map")?.trimEnd().endsWith(everyId) === false;
  return isMapped;
}
