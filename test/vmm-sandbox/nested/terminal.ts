/** Rows that open a terminal for a process and send its master over result "console". */
import type { Row } from "../../../linux/index.ts";

export const terminalBuffers = { zero: 8, control: 24 };

/** posix_openpt(3), and TIOCSPTLCK, TIOCGPTPEER, TIOCSCTTY of ioctl_tty(2). */
export const openTerminal: readonly Row[] = [
  { call: "openat", args: [-100, "/dev/ptmx", 0o2000002, 0], as: "master-end" },
  { call: "ioctl", args: [{ result: "master-end" }, 0x40045431, { buffer: "zero" }] },
  { call: "ioctl", args: [{ result: "master-end" }, 0x5441, 0o2], as: "slave" },
  { call: "setsid", args: [] },
  { call: "ioctl", args: [{ result: "slave" }, 0x540e, 0] },
  ...[0, 1, 2].map((fd): Row => ({ call: "dup3", args: [{ result: "slave" }, fd, 0] })),
  { store: { buffer: "control" }, value: 20, width: 8 }, // cmsg_len, SOL_SOCKET, SCM_RIGHTS
  { store: { buffer: "control", offset: 8 }, value: 1, width: 4 },
  { store: { buffer: "control", offset: 12 }, value: 1, width: 4 },
  { store: { buffer: "control", offset: 16 }, value: { result: "master-end" }, width: 4 },
  {
    call: "sendmsg",
    args: [
      { result: "console" },
      {
        struct: messageHeader(),
        pointers: { 16: { struct: oneByte(), pointers: { 0: "x" } }, 32: { buffer: "control" } },
      },
      0,
    ],
  },
];

function messageHeader(): Uint8Array {
  const bytes = new Uint8Array(56);
  const view = new DataView(bytes.buffer);
  view.setUint32(24, 1, true); // msg_iovlen
  view.setUint32(40, 24, true); // msg_controllen
  return bytes;
}

function oneByte(): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[8] = 1;
  return bytes;
}
