/** Tries things in a child that ends at once, so that this process stays as it is. */
import {
  type Argument,
  type CallRow,
  type Errno,
  errnoName,
  type Program,
  runProgram,
  SIGCHLD,
  type SyscallName,
  syscall,
} from "../../linux/index.ts";

/**
 * Makes a child with these CLONE_NEW* flags that makes the calls.
 * @returns undefined when all succeed, else the call that did not
 */
export function tryInChild(
  cloneFlags: number,
  calls: readonly (readonly [SyscallName, ...Argument[]])[],
): { readonly call: string; readonly errno: Errno } | undefined {
  const child: CallRow[] = calls.map(([call, ...args]) => ({ call, args }));
  const program: Program = {
    rows: [
      { call: "clone", args: [cloneFlags | SIGCHLD, 0, 0, 0, 0], as: "pid", onError: "refused" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      ...child,
      { call: "exit_group", args: [0] },
      { label: "failed" },
      { call: "exit_group", args: [1] },
      { label: "parent" },
      { call: "wait4", args: [{ result: "pid" }, 0, 0, 0] },
      { label: "refused" },
      { end: 0 },
    ],
    onError: "failed",
  };
  const { failure } = runProgram(program);
  return failure === undefined ? undefined : { call: failure.call, errno: failure.errno };
}

/** The errno of a call that is expected to fail harmlessly, or undefined when it succeeds. */
export function errnoOf(
  name: SyscallName,
  ...args: readonly (number | string)[]
): Errno | undefined {
  const result = syscall(name, ...args);
  return result < 0 ? errnoName(-result) : undefined;
}
