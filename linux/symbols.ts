/**
 * Names for the numbers in system calls, so that a program can be read: which argument of which
 * call is a set of flags, one of several commands, or a directory descriptor.
 */
import {
  AF_INET,
  AF_NETLINK,
  AF_UNIX,
  AF_VSOCK,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  CLONE_FILES,
  CLONE_FS,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  CLONE_PARENT,
  CLONE_PIDFD,
  CLONE_SIGHAND,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
  CLOSE_RANGE_CLOEXEC,
  CLOSE_RANGE_UNSHARE,
  F_ADD_SEALS,
  F_DUPFD,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_CMD_RECONFIGURE,
  FSCONFIG_SET_FD,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  KEYCTL_JOIN_SESSION_KEYRING,
  KEYCTL_SETPERM,
  MNT_DETACH,
  MNT_EXPIRE,
  MNT_FORCE,
  MOVE_MOUNT_F_AUTOMOUNTS,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_F_SYMLINKS,
  MOVE_MOUNT_T_AUTOMOUNTS,
  MOVE_MOUNT_T_EMPTY_PATH,
  MOVE_MOUNT_T_SYMLINKS,
  MS_BIND,
  MS_DIRSYNC,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_MOVE,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  MS_SHARED,
  MS_SILENT,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  PR_CAP_AMBIENT,
  PR_CAPBSET_DROP,
  PR_SET_CHILD_SUBREAPER,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  PR_SET_NAME,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PR_SET_SECCOMP,
  PR_SET_SECUREBITS,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_NEW_LISTENER,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
  SECCOMP_SET_MODE_FILTER,
  SIG_BLOCK,
  SIG_SETMASK,
  SIG_UNBLOCK,
  SIGCHLD,
  SIGCONT,
  SIGHUP,
  SIGINT,
  SIGKILL,
  SIGSTOP,
  SIGTERM,
  SIGWINCH,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_STREAM,
  TIOCGPTN,
  TIOCGPTPEER,
  TIOCSCTTY,
  TIOCSPTLCK,
  TIOCSWINSZ,
  UMOUNT_NOFOLLOW,
} from "./constants.ts";
import type { SyscallName } from "./syscalls.ts";

type Names = Readonly<Record<string, number>>;

/** `flags`: any number of bits, `zero` naming none; `command`: exactly one of the names. */
type Symbols = { readonly flags: Names; readonly zero?: string } | { readonly command: Names };

// biome-ignore format: table
const open = {
  flags: {
    O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND, O_NONBLOCK,
    O_DIRECTORY, O_NOFOLLOW, O_PATH, O_CLOEXEC,
  },
  zero: "O_RDONLY",
};
// biome-ignore format: table
const namespaces = {
  CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET,
  CLONE_NEWCGROUP, CLONE_NEWTIME,
};
// biome-ignore format: table
const mount: Symbols = {
  flags: {
    MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_REMOUNT,
    MS_MANDLOCK, MS_DIRSYNC, MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME, MS_BIND,
    MS_MOVE, MS_REC, MS_SILENT, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED,
    MS_RELATIME, MS_STRICTATIME, MS_LAZYTIME,
  },
};
const at: Symbols = {
  flags: {
    AT_SYMLINK_NOFOLLOW,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_EMPTY_PATH,
    AT_RECURSIVE,
  },
};
const directory: Symbols = { command: { AT_FDCWD } };
const signal: Symbols = {
  command: { SIGKILL, SIGTERM, SIGSTOP, SIGCONT, SIGCHLD, SIGWINCH, SIGHUP, SIGINT },
};

type Table = Partial<Record<SyscallName, Readonly<Record<number, Symbols>>>>;

/** By call, then by index of the argument. Made when it is asked for: starting needs none of it. */
// biome-ignore format: table
const makeTable = (): Table => ({
  openat: { 0: directory, 2: open },
  openat2: { 0: directory },
  mkdirat: { 0: directory },
  mknodat: { 0: directory },
  symlinkat: { 1: directory },
  unlinkat: { 0: directory, 2: at },
  readlinkat: { 0: directory },
  newfstatat: { 0: directory, 3: at },
  fchownat: { 0: directory, 4: at },
  execveat: { 0: directory, 4: at },
  mount: { 3: mount },
  umount2: { 1: { flags: {MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW} } },
  clone: {
    0: {
      flags: {
        CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_PIDFD, CLONE_VFORK,
        CLONE_PARENT, CLONE_THREAD, ...namespaces,
      },
    },
  },
  unshare: { 0: { flags: {CLONE_FS, CLONE_FILES, ...namespaces} } },
  setns: { 1: { flags: namespaces } },
  close_range: { 2: { flags: {CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC} } },
  prctl: {
    0: {
      command: {
        PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME, PR_SET_SECCOMP,
        PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS,
        PR_CAP_AMBIENT,
      },
    },
  },
  seccomp: {
    0: { command: {SECCOMP_SET_MODE_FILTER} },
    1: {
      flags: {
        SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
      },
    },
  },
  fcntl: {
    1: {
      command: {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS},
    },
  },
  dup3: { 2: { flags: {O_CLOEXEC} } },
  pipe2: { 1: open },
  rt_sigprocmask: { 0: { command: {SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK} } },
  kill: { 1: signal },
  keyctl: { 0: { command: {KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SETPERM} } },
  open_tree: { 0: directory, 2: { flags: {OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, AT_RECURSIVE, AT_EMPTY_PATH} } },
  move_mount: {
    0: directory,
    2: directory,
    4: {
      flags: {
        MOVE_MOUNT_F_SYMLINKS, MOVE_MOUNT_F_AUTOMOUNTS, MOVE_MOUNT_F_EMPTY_PATH,
        MOVE_MOUNT_T_SYMLINKS, MOVE_MOUNT_T_AUTOMOUNTS, MOVE_MOUNT_T_EMPTY_PATH,
      },
    },
  },
  mount_setattr: { 0: directory, 2: at },
  fsopen: { 1: { flags: {FSOPEN_CLOEXEC} } },
  fsmount: { 1: { flags: {FSMOUNT_CLOEXEC} } },
  fsconfig: {
    1: {
      command: {
        FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_FD, FSCONFIG_CMD_CREATE,
        FSCONFIG_CMD_RECONFIGURE,
      },
    },
  },
  socket: {
    0: { command: {AF_UNIX, AF_INET, AF_NETLINK, AF_VSOCK} },
    1: { flags: {SOCK_STREAM, SOCK_DGRAM, SOCK_CLOEXEC} },
  },
  ioctl: { 1: { command: {TIOCSCTTY, TIOCSPTLCK, TIOCGPTPEER, TIOCSWINSZ, TIOCGPTN} } },
});

let table: Table | undefined;

/** As a C program would write the argument, or undefined when the number says it all. */
export function symbolOf(
  call: SyscallName,
  index: number,
  value: number | bigint,
): string | undefined {
  table ??= makeTable();
  const symbols = table[call]?.[index];
  if (symbols === undefined) return undefined;
  const number = Number(value);
  if ("command" in symbols)
    return Object.entries(symbols.command).find(([, known]) => known === number)?.[0];
  return formatFlags(symbols.flags, number, symbols.zero);
}

/** RESOLVE_* of openat2(2). */
export function formatOpenHow(how: Uint8Array): string {
  const view = new DataView(how.buffer, how.byteOffset, how.byteLength);
  const flags = formatFlags(open.flags, Number(view.getBigUint64(0, true)), open.zero);
  const resolve = formatFlags(
    {
      RESOLVE_NO_XDEV,
      RESOLVE_NO_MAGICLINKS,
      RESOLVE_NO_SYMLINKS,
      RESOLVE_BENEATH,
      RESOLVE_IN_ROOT,
    },
    Number(view.getBigUint64(16, true)),
  );
  const mode = view.getBigUint64(8, true);
  return `{${flags}${mode === 0n ? "" : `, 0${mode.toString(8)}`}, ${resolve}}`;
}

function formatFlags(names: Names, value: number, zero?: string): string {
  if (value === 0) return zero ?? "0";
  let rest = value;
  const found: string[] = [];
  for (const [name, bit] of Object.entries(names)) {
    // Beyond 32 bits JavaScript's & cuts; no flag of these tables is there.
    if (bit === 0 || (rest & bit) !== bit) continue;
    found.push(name);
    rest -= bit;
  }
  if (rest !== 0) found.push(rest === SIGCHLD ? "SIGCHLD" : `0x${rest.toString(16)}`);
  return found.join("|");
}
