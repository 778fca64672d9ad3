/** What a launch program reports, as errors in runc's words: engines read them. */
import { type EncodedProgram, errnoName, errnoText, type Program } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { LaunchError } from "../errors.ts";
import { fileExists } from "./sync.ts";

const EPERM = 1;
const ENOENT = 2;
const EACCES = 13;
/** In the block's header; linux/interpreter-layout.ts. */
const failedRowOffset = 16;
export const errnoOffset = 20;

/** What `not executed` means, in runc's words: engines read them. */
export function executionError(config: RuntimeConfig, value: number): LaunchError {
  const command = config.process?.args?.[0] ?? "";
  const errno = value & 0xffff;
  const text = describeExecution(command, errno, (value & fileExists) !== 0);
  const exitCode = errno === ENOENT ? 127 : 126;
  return new LaunchError(`unable to start container process: ${text}`, exitCode);
}

function describeExecution(command: string, errno: number, exists: boolean): string {
  const quoted = JSON.stringify(command);
  const problem = lowerErrno(errno);
  if (exists) return `exec ${command}: ${problem}`;
  if (!command.includes("/") && (errno === ENOENT || errno === EACCES))
    return `exec: ${quoted}: executable file not found in $PATH`;
  if (errno === ENOENT) return `exec: ${quoted}: stat ${command}: ${problem}`;
  return errno === EACCES || errno === EPERM
    ? `exec: ${quoted}: permission denied`
    : `exec ${command}: ${problem}`;
}

/** As Go prints errors: engines compare with these texts. */
export function lowerErrno(errno: number): string {
  return errnoText(errnoName(errno)).toLowerCase();
}

export function namespaceError(errno: number): LaunchError {
  return new LaunchError(
    `unable to start container process: make the namespaces: unshare: ${lowerErrno(errno)}`,
  );
}

/** The block of a program that failed: header +16 failed row, +20 errno. */
export function reportError(
  block: Uint8Array,
  program: Program,
  encoded: EncodedProgram,
): LaunchError {
  const view = new DataView(block.buffer);
  const errno = view.getUint32(errnoOffset, true);
  const row = program.rows[encoded.rowIndex(view.getUint32(failedRowOffset, true)) ?? -1];
  const problem = lowerErrno(errno);
  const what =
    row === undefined || !("call" in row)
      ? "an unknown step"
      : row.note === undefined
        ? row.call
        : `${row.note}: ${row.call}`;
  return new LaunchError(`unable to start container process: ${what}: ${problem}`);
}
