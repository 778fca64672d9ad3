/** Kernel structs of several folders; those of one subsystem (KVM, netlink) live beside their user. */
import { bytes, i16, i32, i64, struct, u8, u16, u32, u64 } from "./struct.ts";

/** openat2(2), linux/openat2.h. */
export const open_how = struct(24, { flags: u64, mode: u64, resolve: u64 });

/** clone3(2), CLONE_ARGS_SIZE_VER2 of linux/sched.h. */
export const clone_args = struct(88, {
  flags: u64,
  pidfd: u64,
  child_tid: u64,
  parent_tid: u64,
  exit_signal: u64,
  stack: u64,
  stack_size: u64,
  tls: u64,
  set_tid: u64,
  set_tid_size: u64,
  cgroup: u64,
});

/** mount_setattr(2), linux/mount.h. */
export const mount_attr = struct(32, {
  attr_set: u64,
  attr_clr: u64,
  propagation: u64,
  userns_fd: u64,
});

/** rt_sigaction(2) of the kernel, not of the C library: handler, flags, restorer, mask. */
export const kernel_sigaction = struct(32, { handler: u64, flags: u64, restorer: u64, mask: u64 });
/** Size that the rt_sig* calls want for a signal set. */
export const sigsetSizeBytes = 8;

/** prlimit(2). */
export const rlimit64 = struct(16, { rlim_cur: u64, rlim_max: u64 });

/** capset(2), linux/capability.h: version 3 takes two data structs. */
export const cap_user_header = struct(8, { version: u32, pid: i32 });
export const cap_user_data = struct(12, { effective: u32, permitted: u32, inheritable: u32 });
export const LINUX_CAPABILITY_VERSION_3 = 0x2008_0522;

/** seccomp(2), linux/filter.h; `filter` points to `len` 8-byte instructions. */
export const sock_fprog = struct(16, { len: u16, filter: u64 });
export const sock_filter = struct(8, { code: u16, jt: u8, jf: u8, k: u32 });

/** poll(2). */
export const pollfd = struct(8, { fd: i32, events: i16, revents: i16 });

/** epoll_ctl(2): packed on x86-64, so the 64-bit data follows the events directly. */
export const epoll_event = struct(12, { events: u32, data: bytes(8) });

/** readv(2), sendmsg(2). */
export const iovec = struct(16, { iov_base: u64, iov_len: u64 });
export const msghdr = struct(56, {
  msg_name: u64,
  msg_namelen: u32,
  msg_iov: u64,
  msg_iovlen: u64,
  msg_control: u64,
  msg_controllen: u64,
  msg_flags: i32,
});
/** cmsg(3): the data follow, each message padded to 8 bytes. */
export const cmsghdr = struct(16, { cmsg_len: u64, cmsg_level: i32, cmsg_type: i32 });

/** unix(7). */
export const sockaddr_un = struct(110, { sun_family: u16, sun_path: bytes(108) });

/** ioctl_tty(2), TIOCSWINSZ. */
export const winsize = struct(8, { ws_row: u16, ws_col: u16, ws_xpixel: u16, ws_ypixel: u16 });

/** The kernel's termios of TCGETS, asm-generic/termbits.h (the C library's is larger). */
export const termios = struct(36, {
  c_iflag: u32,
  c_oflag: u32,
  c_cflag: u32,
  c_lflag: u32,
  c_line: u8,
  c_cc: bytes(19),
});

/** signalfd(2). */
export const signalfd_siginfo = struct(128, {
  ssi_signo: u32,
  ssi_errno: i32,
  ssi_code: i32,
  ssi_pid: u32,
  ssi_uid: u32,
  ssi_fd: i32,
  ssi_tid: u32,
  ssi_band: u32,
  ssi_overrun: u32,
  ssi_trapno: u32,
  ssi_status: i32,
  ssi_int: i32,
  ssi_ptr: u64,
  ssi_utime: u64,
  ssi_stime: u64,
  ssi_addr: u64,
  ssi_addr_lsb: u16,
  rest: bytes(46),
});

/** stat(2) as the x86-64 kernel writes it, asm/stat.h. */
export const stat = struct(144, {
  st_dev: u64,
  st_ino: u64,
  st_nlink: u64,
  st_mode: u32,
  st_uid: u32,
  st_gid: u32,
  pad: u32,
  st_rdev: u64,
  st_size: i64,
  st_blksize: i64,
  st_blocks: i64,
  st_atime: i64,
  st_atime_nsec: u64,
  st_mtime: i64,
  st_mtime_nsec: u64,
  st_ctime: i64,
  st_ctime_nsec: u64,
  unused: bytes(24),
});

/** timespec of utimensat(2), clock_gettime(2). */
export const timespec = struct(16, { tv_sec: i64, tv_nsec: i64 });

/** sched_setattr(2), linux/sched/types.h, SCHED_ATTR_SIZE_VER1. */
export const sched_attr = struct(56, {
  size: u32,
  sched_policy: u32,
  sched_flags: u64,
  sched_nice: i32,
  sched_priority: u32,
  sched_runtime: u64,
  sched_deadline: u64,
  sched_period: u64,
  sched_util_min: u32,
  sched_util_max: u32,
});

/** Device number as the kernel's new encoding has it; makedev(3). */
export function makeDevice(major: number, minor: number): number {
  const low = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12);
  return (low >>> 0) + (major & ~0xfff) * 2 ** 32;
}
