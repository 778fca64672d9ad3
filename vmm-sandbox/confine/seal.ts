/** The monitor's last step before its guest runs: from here on it can reach nothing new. */
import {
  addressOf,
  call,
  PR_SET_DUMPABLE,
  PR_SET_NO_NEW_PRIVS,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_SET_MODE_FILTER,
  SyscallError,
  sock_fprog,
} from "../../linux/index.ts";
import { encodeMonitorFilter, type FilterOptions } from "./filter.ts";

const INSTRUCTION_BYTES = 8;

/**
 * Sets the filter on every thread of this process, for good. What the monitor opens, connects or
 * loads must be there already; threads may still come. Throws SyscallError.
 */
export function sealMonitor(options: FilterOptions): void {
  const code = encodeMonitorFilter(options);
  const program = sock_fprog.encode({
    len: code.length / INSTRUCTION_BYTES,
    filter: addressOf(code),
  });
  call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // Nobody of the same user may look into the guest's memory.
  call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0);
  const result = call("seccomp", SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program);
  // seccomp(2): the ID of a thread that has another filter already.
  if (result !== 0)
    throw new SyscallError({ call: "seccomp", args: [`thread ${result}`], errno: "ESRCH" });
}
