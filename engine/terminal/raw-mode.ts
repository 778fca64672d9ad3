/**
 * Our terminal in raw mode, and back again whatever happens: a guard process of a few rows waits on
 * a pipe from us and restores the settings when the pipe closes, so that not even SIGKILL leaves
 * a terminal that does not echo.
 */
import {
  call,
  ECHO,
  Fd,
  ICANON,
  ICRNL,
  ISIG,
  IXON,
  loadProgram,
  OPOST,
  type Program,
  type Row,
  SIG_SETMASK,
  SIGCHLD,
  syscall,
  TCGETS,
  TCSETS,
  TIOCGWINSZ,
  termios,
  winsize,
} from "../../linux/index.ts";

/** termios.h bits that cfmakeraw(3) clears, beside those the linux folder names. */
const IGNBRK_TO_IGNCR = 0o353; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR
const ECHONL = 0o100;
const IEXTEN = 0o100000;
const CSIZE_PARENB = 0o460;
const CS8 = 0o60;
const VTIME = 5;
const VMIN = 6;

export interface TerminalSize {
  readonly height: number;
  readonly width: number;
}

export function isTerminal(fd: number): boolean {
  return syscall("ioctl", fd, TCGETS, new Uint8Array(termios.sizeBytes)) === 0;
}

export function terminalSize(fd: number): TerminalSize | undefined {
  const bytes = new Uint8Array(winsize.sizeBytes);
  if (syscall("ioctl", fd, TIOCGWINSZ, bytes) < 0) return undefined;
  const { ws_row, ws_col } = winsize.decode(bytes);
  return { height: ws_row, width: ws_col };
}

/** Raw until disposed of. `fd` stays the caller's. */
export function enterRawMode(fd: number): Disposable {
  const saved = new Uint8Array(termios.sizeBytes);
  call("ioctl", fd, TCGETS, saved);
  const guard = startGuard(fd, saved);
  call("ioctl", fd, TCSETS, makeRaw(saved));
  return {
    [Symbol.dispose]() {
      syscall("ioctl", fd, TCSETS, saved);
      guard.dismiss();
    },
  };
}

/** cfmakeraw(3). */
export function makeRaw(settings: Uint8Array): Uint8Array {
  const { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc } = termios.decode(settings);
  const keys = c_cc.slice();
  keys[VMIN] = 1;
  keys[VTIME] = 0;
  return termios.encode({
    c_iflag: (c_iflag & ~(IGNBRK_TO_IGNCR | ICRNL | IXON)) >>> 0,
    c_oflag: (c_oflag & ~OPOST) >>> 0,
    c_cflag: ((c_cflag & ~CSIZE_PARENB) | CS8) >>> 0,
    c_lflag: (c_lflag & ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN)) >>> 0,
    c_line,
    c_cc: keys,
  });
}

interface Guard {
  dismiss(): void;
}

function startGuard(fd: number, saved: Uint8Array): Guard {
  const ends = new Uint8Array(8);
  const O_CLOEXEC = 0o2000000;
  call("pipe2", ends, O_CLOEXEC);
  const view = new DataView(ends.buffer);
  using readEnd = Fd.take(view.getInt32(0, true));
  const writeEnd = Fd.take(view.getInt32(4, true));
  const program = loadProgram(guardProgram(fd, readEnd.number, saved));
  const pid = program.run().value;
  return {
    dismiss() {
      syscall("write", writeEnd, Uint8Array.of(1), 1);
      writeEnd.close();
      syscall("wait4", pid, 0, 0, 0);
      program[Symbol.dispose]();
    },
  };
}

/** All signals blocked: also SIGTTOU, with which a background process is kept from TCSETS. */
function guardProgram(terminal: number, pipe: number, saved: Uint8Array): Program {
  return {
    buffers: { byte: 16 },
    rows: [
      { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      { call: "rt_sigprocmask", args: [SIG_SETMASK, new Uint8Array(8).fill(0xff), 0, 8] },
      { call: "setpgid", args: [0, 0], ignore: ["EPERM"] },
      ...closeAllBut([terminal, pipe]),
      { call: "read", args: [pipe, { buffer: "byte" }, 1], note: "wait for our end" },
      { jump: "done", if: [{ last: true }, "==", 1] },
      { call: "ioctl", args: [terminal, TCSETS, saved], ignore: ["EIO", "ENOTTY"] },
      { label: "done" },
      { call: "exit_group", args: [0] },
      { label: "parent" },
      { end: { result: "pid" } },
    ],
  };
}

const LAST_FD = 0xffffffff;

/** Rows that close every descriptor but these. */
export function closeAllBut(kept: readonly number[]): Row[] {
  const rows: Row[] = [];
  let from = 0;
  for (const fd of [...new Set(kept)].sort((a, b) => a - b)) {
    if (fd > from) rows.push({ call: "close_range", args: [from, fd - 1, 0] });
    from = fd + 1;
  }
  rows.push({ call: "close_range", args: [from, LAST_FD, 0] });
  return rows;
}
