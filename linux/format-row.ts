/** Rows of a syscall program as text, one a line, as strace would show them. */
import { formatArgument } from "./errors.ts";
import type { Argument, CallRow, Row } from "./program.ts";
import { formatOpenHow, symbolOf } from "./symbols.ts";

/** Arguments that are file modes read best in octal. */
const modeArguments: Readonly<Record<string, number>> = {
  mkdirat: 2,
  mkdir: 1,
  mknodat: 2,
  fchmod: 1,
  chmod: 1,
  fchmodat: 2,
  umask: 0,
};
const openHowBytes = 24;

/** One row as `explain` prints it. */
export function formatRow(row: Row): string {
  if ("call" in row) return formatCall(row);
  if ("label" in row) return `${row.label}:`;
  if ("jump" in row) {
    const condition = row.if;
    const suffix =
      condition === undefined
        ? ""
        : ` if ${describe(condition[0])} ${condition[1]} ${describe(condition[2])}`;
    return `goto ${row.jump}${suffix}`;
  }
  if ("store" in row) return `${describe(row.store)} = ${describe(row.value)}`;
  if ("read" in row) return `${row.as} = *(${row.width} bytes at ${describe(row.read)})`;
  if ("compute" in row) {
    const [left, how, right] = row.compute;
    return `${row.as} = ${describe(left)} ${how} ${describe(right)}`;
  }
  if ("copy" in row)
    return `copy ${describe(row.length)} bytes from ${describe(row.copy)} to ${describe(row.to)}`;
  if ("run" in row) return `run ${describe(row.run)}`;
  if ("resume" in row) return `resume ${describe(row.resume)}`;
  return `end ${describe(row.end)}`;
}

function formatCall(row: CallRow): string {
  const args = row.args.map((arg, index) => describeIn(row, arg, index)).join(", ");
  const name = row.as === undefined ? "" : `${row.as} = `;
  const ignored = row.ignore === undefined ? "" : `  # or ${row.ignore.join(", ")}`;
  const note = row.note === undefined ? "" : `  # ${row.note}`;
  return `${name}${row.call}(${args})${ignored}${note}`;
}

export function describe(arg: Argument): string {
  if (typeof arg !== "object") return formatArgument(arg);
  if (arg instanceof Uint8Array) return `<${arg.length} bytes>`;
  if ("strings" in arg) return JSON.stringify(arg.strings);
  if ("struct" in arg) {
    const pointers = Object.values(arg.pointers).map(describe).join(", ");
    return `<${arg.struct.length} bytes → ${pointers}>`;
  }
  if ("result" in arg) return arg.result;
  if ("last" in arg) return "last";
  const offset = arg.offset === undefined || arg.offset === 0 ? "" : `+${arg.offset}`;
  return "buffer" in arg ? `&${arg.buffer}${offset}` : `${arg.load}${offset}`;
}

function describeIn(row: CallRow, arg: Argument, index: number): string {
  if (typeof arg === "number" || typeof arg === "bigint") {
    if (modeArguments[row.call] === index) return `0${arg.toString(8)}`;
    return symbolOf(row.call, index, arg) ?? formatArgument(arg);
  }
  if (row.call === "openat2" && arg instanceof Uint8Array && arg.length === openHowBytes)
    return formatOpenHow(arg);
  return describe(arg);
}
