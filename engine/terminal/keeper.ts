/**
 * Stays with a container that its user detached from: holds the outer end of its terminal, throws
 * away what it writes there, and holds its lock, which says that it runs. A process of a few rows.
 */
import {
  call,
  F_SETFL,
  type Fd,
  O_RDWR,
  POLLIN,
  type Program,
  pollfd,
  runProgram,
  SIG_SETMASK,
  SIGCHLD,
} from "../../linux/index.ts";
import { closeAllBut } from "./raw-mode.ts";

const BUFFER_BYTES = 4096;

export function keepContainer(terminal: Fd, lock: Fd, pidfd: Fd): void {
  call("fcntl", terminal, F_SETFL, O_RDWR); // from now on reading waits
  runProgram(keeperProgram(terminal.number, lock.number, pidfd.number));
}

function keeperProgram(terminal: number, lock: number, pidfd: number): Program {
  const ended = pollfd.encode({ fd: pidfd, events: POLLIN });
  return {
    buffers: { output: BUFFER_BYTES },
    rows: [
      { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      { call: "rt_sigprocmask", args: [SIG_SETMASK, new Uint8Array(8).fill(0xff), 0, 8] },
      { call: "setsid", args: [], ignore: ["EPERM"] },
      ...closeAllBut([terminal, lock, pidfd]),
      { label: "read" },
      {
        call: "read",
        args: [terminal, { buffer: "output" }, BUFFER_BYTES],
        onError: "ended",
        note: "nobody looks at what the container writes",
      },
      { jump: "read", if: [{ last: true }, ">", 0] },
      { label: "ended" },
      { call: "poll", args: [ended, 1, -1], note: "until the container's process has ended" },
      { call: "exit_group", args: [0] },
      { label: "parent" },
      { end: { result: "pid" } },
    ],
  };
}
