/** Rows that give a container its terminal: a pseudo-terminal of its own devpts. */
import {
  type Argument,
  AT_EMPTY_PATH,
  iovec,
  MSG_NOSIGNAL,
  msghdr,
  O_CLOEXEC,
  O_NOCTTY,
  O_RDWR,
  TCSETS,
  TIOCGPTPEER,
  TIOCSCTTY,
  TIOCSPTLCK,
  TIOCSWINSZ,
  termios,
  winsize,
} from "../../linux/index.ts";
import type { ConsoleSize } from "../../oci/index.ts";
import type { Destinations } from "./destinations.ts";
import { attach, cloneFlags } from "./mounts.ts";
import type { RowList } from "./row-list.ts";

/** cmsg(3) for one descriptor: header of 16 bytes, then the number. */
const controlSize = 24;
const controlLength = 20;
/** asm-generic/termbits.h. */
const [B38400, CS8, CREAD] = [0o17, 0o60, 0o200];
const [CONTROL_CHARACTERS, VMIN] = [19, 6];
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** What the receiver reads beside the descriptor; engines take it for the terminal's name. */
const consoleName = "/dev/ptmx";

/**
 * Opens a pair, mounts the inner end on /dev/console, and sends the outer end to whoever asked.
 * Both are reached by descriptor: /dev/pts/N is never looked up by name (CVE-2025-52565).
 * Returns the inner end. A raw one passes every byte on, for a terminal that is elsewhere.
 */
export function planTerminal(
  rows: RowList,
  inside: { readonly root: Argument; readonly destinations: Destinations } | undefined,
  socket: number,
  size: ConsoleSize | undefined,
  isRaw = false,
): Argument {
  const flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
  const ptmx =
    inside === undefined
      ? rows.result("openat", [-100, "/dev/pts/ptmx", flags], { note: "open a terminal" })
      : rows.openInRoot(inside.root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, {
          note: "open a terminal",
        });
  rows.call("ioctl", [ptmx, TIOCSPTLCK, rows.buffer("unlock", 4)]);
  const tty = rows.result("ioctl", [ptmx, TIOCGPTPEER, flags], { note: "open its inner end" });
  if (isRaw)
    rows.call("ioctl", [tty, TCSETS, rawSettings()], { note: "another terminal echoes and edits" });
  if (size !== undefined) {
    const window = winsize.encode({ ws_row: size.height, ws_col: size.width });
    rows.call("ioctl", [ptmx, TIOCSWINSZ, window]);
  }
  if (inside !== undefined) {
    const tree = rows.result("open_tree", [tty, "", cloneFlags(false) | AT_EMPTY_PATH]);
    const console = inside.destinations.plainFile("/dev/console");
    attach(rows, tree, console, "mount the terminal on /dev/console");
  }
  planSend(rows, socket, ptmx);
  rows.call("close", [ptmx]);
  return tty;
}

/** termios(3), "Raw mode", of a terminal that nobody has changed yet. */
function rawSettings(): Uint8Array {
  const characters = new Uint8Array(CONTROL_CHARACTERS);
  characters[VMIN] = 1;
  const c_cflag = B38400 | CS8 | CREAD;
  return termios.encode({ c_iflag: 0, c_oflag: 0, c_cflag, c_lflag: 0, c_cc: characters });
}

function planSend(rows: RowList, socket: number, descriptor: Argument): void {
  const control = rows.buffer("control", controlSize);
  rows.add({ store: control, value: controlLength, width: 8 });
  rows.add({ store: { ...control, offset: 8 }, value: SOL_SOCKET, width: 4 });
  rows.add({ store: { ...control, offset: 12 }, value: SCM_RIGHTS, width: 4 });
  rows.add({ store: { ...control, offset: 16 }, value: descriptor, width: 4 });
  const vector: Argument = {
    struct: iovec.encode({ iov_len: consoleName.length }),
    pointers: { [iovec.offsets.iov_base]: consoleName },
  };
  const header: Argument = {
    struct: msghdr.encode({ msg_iovlen: 1, msg_controllen: controlSize }),
    pointers: { [msghdr.offsets.msg_iov]: vector, [msghdr.offsets.msg_control]: control },
  };
  rows.call("sendmsg", [socket, header, MSG_NOSIGNAL], { note: "hand out the terminal" });
}

/** Makes the terminal stdin, stdout and stderr, and the one that sends job-control signals. */
export function planControllingTerminal(rows: RowList, tty: Argument, uid: number): void {
  rows.call("fchown", [tty, uid, -1], { ignore: ["EPERM", "EINVAL"] });
  for (const target of [0, 1, 2]) rows.call("dup3", [tty, target, 0]);
  rows.call("ioctl", [0, TIOCSCTTY, 0], { note: "take the terminal as controlling terminal" });
}
