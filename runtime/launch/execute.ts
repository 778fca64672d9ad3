/** Rows that find and execute the container's command, as execvp(3) would inside the container. */
import { type Argument, AT_FDCWD, S_IFDIR, S_IFMT } from "../../linux/index.ts";
import type { Process } from "../../oci/index.ts";
import type { RowList } from "./row-list.ts";
import { fileExists, message, planMessage } from "./sync.ts";

const ENOENT = 2;
const EACCES = 13;
const X_OK = 1;
const statModeOffset = 24;
const statSize = 144;
/** Used when the environment names no PATH: what runc and the C library fall back on. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Not executable here: try the next directory. */
const passOver = ["ENOENT", "EACCES", "ENOTDIR", "ENAMETOOLONG", "ELOOP"] as const;

function candidatesOf(process: Process): readonly string[] {
  const command = process.args?.[0] ?? "";
  if (command.includes("/")) return [command];
  const path = (process.env ?? []).findLast((variable) => variable.startsWith("PATH="));
  return (path?.slice("PATH=".length) ?? defaultPath)
    .split(":")
    .map((directory) => `${directory === "" ? "." : directory}/${command}`);
}

/** For `create`: refuses a command that is not there before anybody waits for `start`. */
export function planExecutableCheck(rows: RowList, process: Process): void {
  const candidates = candidatesOf(process);
  const found = rows.freshLabel("executable");
  const stat = rows.buffer("executable_stat", statSize);
  setErrno(rows, ENOENT);
  for (const candidate of candidates) {
    const next = rows.freshLabel("candidate");
    rows.call("newfstatat", [AT_FDCWD, candidate, stat, 0], { ignore: passOver });
    rows.gotoIfFailed(next);
    rows.add({
      compute: [{ load: stat.buffer, offset: statModeOffset, width: 4 }, "&", S_IFMT],
      as: rows.freshLabel("type"),
    });
    const denied = rows.freshLabel("denied");
    rows.add({ jump: denied, if: [{ last: true }, "==", S_IFDIR] });
    rows.call("faccessat", [AT_FDCWD, candidate, X_OK], { ignore: passOver });
    rows.gotoIfDone(found);
    rows.label(denied);
    setErrno(rows, EACCES);
    rows.label(next);
  }
  refuse(rows);
  rows.label(found);
}

export function planExecute(rows: RowList, process: Process): void {
  const candidates = candidatesOf(process);
  const argv: Argument = { strings: process.args ?? [] };
  const envp: Argument = { strings: process.env ?? [] };
  setErrno(rows, ENOENT);
  for (const candidate of candidates) {
    const next = rows.freshLabel("next");
    rows.call("execve", [candidate, argv, envp], {
      ignore: [...passOver, "ENOEXEC"],
      note: "become the container's process",
    });
    const other = rows.freshLabel("other");
    rows.add({ jump: other, if: [{ last: true }, "!=", -ENOENT] });
    // ENOENT with the file there: its interpreter is missing, which is another message.
    rows.call("faccessat", [AT_FDCWD, candidate, 0], { ignore: passOver });
    rows.gotoIfFailed(next);
    setErrno(rows, fileExists | ENOENT);
    rows.goto("not_executed");
    rows.label(other);
    rows.add({ compute: [0, "-", { last: true }], as: rows.freshLabel("errno") });
    rows.add({ store: rows.buffer("errno", 8), value: { last: true }, width: 4 });
    rows.label(next);
  }
  rows.label("not_executed");
  refuse(rows);
}

function setErrno(rows: RowList, errno: number): void {
  rows.add({ store: rows.buffer("errno", 8), value: errno, width: 4 });
}

function refuse(rows: RowList): void {
  planMessage(rows, message.notExecuted, { load: "errno", width: 4 });
  rows.call("exit_group", [1]);
}
