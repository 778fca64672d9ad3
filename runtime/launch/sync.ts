/**
 * What a launch program and the runtime say to each other over a pair of SOCK_SEQPACKET sockets.
 *
 * ```
 * program → runtime   8 bytes: u32 code, u32 value; or its whole block, which is a failure report
 * runtime → program   1 byte: go on
 * end of file         the program has become the container's process
 * ```
 */
import type { Argument } from "../../linux/index.ts";
import type { RowList } from "./row-list.ts";

export const message = {
  /** value: PID of the container's process, sent by the process that made it. */
  pid: 1,
  /** The user namespace wants its ID mappings. */
  mapIds: 2,
  /** Mounts are made and the old root is still there: time for the hooks. */
  hooks: 3,
  /** Everything is prepared; the program waits for `start`. */
  ready: 4,
  /** value: errno of execve, plus `fileExists` when what was executed does exist. */
  notExecuted: 5,
  /** Wants the text that goes with a seccomp listener; the runtime answers with it. */
  listenerState: 6,
  /** Waits for somebody else, systemd, to move it to its cgroup. */
  enterCgroup: 7,
  /** value: errno. The loader (linux/spawn-loader.ts) cannot make the container's namespaces. */
  unshareFailed: 8,
  /** value: exit status. From a machine's keeper, with the reason behind it as text. */
  machineFailed: 9,
} as const;

export const fileExists = 0x1_0000;
export const messageSizeBytes = 8;
/** A report is larger than any message and at most a socket's buffer. */
export const reportSizeLimit = 128 * 1024;

/** In the block header; linux/interpreter-layout.ts. */
const blockSizeOffset = 12;

/** Failure reports leave through the socket whose number is stored here. */
export const reportBuffer = "report";

export function planMessage(rows: RowList, code: number, value: Argument = 0): void {
  const buffer = rows.buffer("message", messageSizeBytes);
  rows.add({ store: buffer, value: code, width: 4 });
  rows.add({ store: { ...buffer, offset: 4 }, value, width: 4 });
  rows.call("write", [{ load: reportBuffer, width: 4 }, buffer, messageSizeBytes]);
}

/** Sends a message and waits until the runtime answers. A runtime that has died ends the program. */
export function planRendezvous(rows: RowList, code: number): void {
  planMessage(rows, code);
  rows.call("read", [{ load: reportBuffer, width: 4 }, rows.buffer("answer", 8), 1]);
  rows.add({ jump: "abandoned", if: [{ last: true }, "!=", 1] });
}

/** Where the program goes on any failure: it reports its block and dies. */
export function planFailureReport(rows: RowList): void {
  rows.label("fail");
  const block = { buffer: "header" };
  const size = { load: "header", offset: blockSizeOffset, width: 4 } as const;
  rows.call("write", [{ load: reportBuffer, width: 4 }, block, size], {
    onError: "abandoned",
  });
  rows.label("abandoned");
  rows.call("exit_group", [1]);
}
