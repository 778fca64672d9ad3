/** The kernel that tests boot: ours, or what MANYWORLDS_GUEST_KERNEL names. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function guestKernel(): string {
  const built = fileURLToPath(new URL("../../../.cache/guest-kernel/current", import.meta.url));
  return process.env["MANYWORLDS_GUEST_KERNEL"] ?? built;
}

/** Why no machine can be started here; undefined when one can. */
export function whyNoMachine(): string | undefined {
  return existsSync(guestKernel())
    ? undefined
    : `there is no guest kernel at "${guestKernel()}": npm run guest:kernel`;
}
