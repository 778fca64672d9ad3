/**
 * The monitor's own seccomp filter, set once it has all it needs and before the guest runs.
 *
 * A JavaScript engine compiles code while it runs, so memory, threads and futexes stay; what goes is
 * every way to reach something new: no socket, no program, no namespace, no file by an absolute
 * path (the root holds nothing of the host). ioctl is allowed by its request alone.
 *
 * ```
 * architecture? → x32? → ioctl → clone → other conditions → allowed → fatal → EPERM
 * ```
 */
import {
  BpfBuilder,
  type BpfPlace,
  CLONE_THREAD,
  encodeBpf,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  type SyscallName,
  seccompData,
  syscallsX86_64,
} from "../../linux/index.ts";

export interface FilterOptions {
  /** A guest sees directories of the host: calls that work on files below a descriptor stay. */
  readonly files: boolean;
  /** ioctl requests besides those of every process. */
  readonly ioctls: readonly number[];
}

const AUDIT_ARCH_X86_64 = 0xc000_003e;
/** Bit of the x32 ABI's numbers. */
const X32 = 0x4000_0000;
const [EPERM, ENOSYS] = [1, 38];

/** What an engine and its event loop do all the time, with descriptors that exist. */
// biome-ignore format: table
const always: readonly SyscallName[] = [
  "futex", "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
  "pwritev2", "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "epoll_create1", "poll",
  "ppoll", "close", "close_range", "fcntl", "fstat", "lseek", "fsync", "fdatasync", "fallocate",
  "ftruncate", "dup", "dup3", "eventfd2", "pipe2", "timerfd_create", "timerfd_settime",
  // memory
  "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "membarrier", "mincore",
  // threads
  "set_robust_list", "get_robust_list", "rseq", "sched_yield", "sched_getaffinity", "sched_getparam",
  "sched_getscheduler", "getpriority", "exit", "exit_group", "restart_syscall", "set_tid_address",
  // signals
  "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "sigaltstack",
  "tgkill",
  // time, randomness, identity
  "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom",
  "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "uname", "sysinfo",
  "getrusage", "times", "getcwd", "getrlimit",
  // sockets that exist: streams of the host, connections to those who listen
  "accept4", "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown", "getsockname", "getpeername",
  "getsockopt", "setsockopt",
];

/** With shared directories. Paths lead nowhere but into these: the root is a nearly empty one. */
// biome-ignore format: table
const onFiles: readonly SyscallName[] = [
  "openat2", "openat", "newfstatat", "statx", "readlinkat", "getdents64", "fchmodat", "fchmod", "fchown",
  "fchownat", "linkat", "mkdirat", "mknodat", "symlinkat", "unlinkat", "renameat2", "utimensat",
  "fstatfs", "statfs", "fgetxattr", "fsetxattr", "flistxattr", "fremovexattr", "getxattr", "setxattr",
  "listxattr", "removexattr", "syncfs", "copy_file_range", "flock", "faccessat", "faccessat2", "umask",
];

/** No engine makes these: whoever does has taken the monitor over. */
// biome-ignore format: table
const fatal: readonly SyscallName[] = [
  "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "setns",
  "unshare", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "bpf",
  "init_module", "finit_module", "delete_module", "kexec_load", "keyctl", "add_key", "request_key",
  "userfaultfd", "perf_event_open", "io_uring_setup", "name_to_handle_at", "open_by_handle_at",
];

/** ioctl_tty(2), ioctl_fionread: asked of any descriptor by libraries. */
const everyoneIoctls = [0x5401 /* TCGETS */, 0x5413 /* TIOCGWINSZ */, 0x541b /* FIONREAD */];

/** The filter as seccomp(2) takes it. Pure. */
export function encodeMonitorFilter(options: FilterOptions): Uint8Array {
  const builder = new BpfBuilder();
  const kill = builder.ret(SECCOMP_RET_KILL_PROCESS);
  const refuse = builder.ret((SECCOMP_RET_ERRNO | EPERM) >>> 0);
  const is = (name: SyscallName, yes: BpfPlace, no: BpfPlace) =>
    builder.jump("JEQ", syscallsX86_64[name], yes, no);
  let next = refuse;
  for (const name of fatal) next = is(name, kill, next);
  const calls = options.files ? [...always, ...onFiles] : always;
  // Backwards: what comes first in the list is looked at first.
  for (const name of calls.toReversed()) {
    next = is(name, builder.ret(SECCOMP_RET_ALLOW), next);
  }
  next = conditional(builder, next);
  const requests = [...everyoneIoctls, ...options.ioctls];
  next = builder.load(seccompData.nr, next);
  next = is("ioctl", allowIf(builder, 1, requests), next);
  next = builder.load(seccompData.nr, next);
  next = builder.jump("JGE", X32, kill, next);
  next = builder.load(seccompData.nr, next);
  next = builder.jump("JEQ", AUDIT_ARCH_X86_64, next, kill);
  return encodeBpf(builder.finish(builder.load(seccompData.arch, next)));
}

/** Each leaves the number loaded for the next. */
function conditional(builder: BpfBuilder, next: BpfPlace): BpfPlace {
  const allow = builder.ret(SECCOMP_RET_ALLOW);
  const refuse = builder.ret((SECCOMP_RET_ERRNO | EPERM) >>> 0);
  // Threads only. clone3's flags lie in memory, which no filter reads: the C library then uses clone.
  const thread = builder.load(
    seccompData.argument(0),
    builder.and(CLONE_THREAD, builder.jump("JEQ", CLONE_THREAD, allow, refuse)),
  );
  // Reading limits, never setting them.
  const reading = builder.load(seccompData.argument(2), builder.jump("JEQ", 0, allow, refuse));
  // A name for a thread or a mapping.
  const naming = allowIf(builder, 0, [15 /* PR_SET_NAME */, 0x5356_4d41 /* PR_SET_VMA */]);
  const missing = builder.ret((SECCOMP_RET_ERRNO | ENOSYS) >>> 0);
  let place = builder.jump("JEQ", syscallsX86_64.clone3, missing, next);
  place = builder.jump("JEQ", syscallsX86_64.clone, thread, place);
  place = builder.jump("JEQ", syscallsX86_64.prlimit64, reading, place);
  return builder.jump("JEQ", syscallsX86_64.prctl, naming, place);
}

/** Allowed when the argument's low half, all that the kernel looks at here, is one of these. */
function allowIf(builder: BpfBuilder, argument: number, values: readonly number[]): BpfPlace {
  let place = builder.ret((SECCOMP_RET_ERRNO | EPERM) >>> 0);
  for (const value of values.toReversed()) {
    place = builder.jump("JEQ", value, builder.ret(SECCOMP_RET_ALLOW), place);
  }
  return builder.load(seccompData.argument(argument), place);
}
