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

/** What is executed: known when the rows are planned, or read when they run (door/exec-program.ts). */
export interface Command {
  readonly argv: Argument;
  readonly envp: Argument;
  /** Plans `body` for each file that may be meant; it gets the path and where the next one is tried. */
  forEachCandidate(what: string, body: (path: Argument, next: string) => void): void;
}

export function commandOf(rows: RowList, process: Process): Command {
  return {
    argv: { strings: process.args ?? [] },
    envp: { strings: process.env ?? [] },
    forEachCandidate(what, body) {
      for (const candidate of candidatesOf(process)) {
        const next = rows.freshLabel(what);
        body(candidate, next);
        rows.label(next);
      }
    },
  };
}

function candidatesOf(process: Process): readonly string[] {
  const command = process.args?.[0] ?? "";
  if (command.includes("/")) return [command];
  return searchPath(process).map((directory) => `${directory}/${command}`);
}

export function searchPath({ env = [] }: Process): readonly string[] {
  const path = env.findLast((variable) => variable.startsWith("PATH="));
  return (path?.slice("PATH=".length) ?? defaultPath)
    .split(":")
    .map((directory) => (directory === "" ? "." : directory));
}

/** For `create`: refuses a command that is not there before anybody waits for `start`. */
export function planExecutableCheck(rows: RowList, command: Command): void {
  const found = rows.freshLabel("executable");
  const stat = rows.buffer("executable_stat", statSize);
  setErrno(rows, ENOENT);
  command.forEachCandidate("candidate", (candidate, next) => {
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
  });
  refuse(rows);
  rows.label(found);
}

export function planExecute(rows: RowList, command: Command): void {
  setErrno(rows, ENOENT);
  command.forEachCandidate("next", (candidate, next) => {
    rows.call("execve", [candidate, command.argv, command.envp], {
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
  });
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
