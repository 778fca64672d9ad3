/**
 * Architectures a filter can tell apart on an x86-64 kernel.
 *
 * Sources: linux/audit.h; arch/x86/entry/syscalls/syscall_64.tbl (x32 rows); for the
 * multiplexed calls of i386 linux/net.h (SYS_*) and linux/ipc.h.
 */
import {
  AUDIT_ARCH_I386,
  AUDIT_ARCH_X86_64,
  syscallsI386,
  syscallsX86_64,
} from "../../linux/index.ts";
import type { SeccompArchitecture } from "../../oci/index.ts";

export interface Architecture {
  readonly name: SeccompArchitecture;
  readonly audit: number;
  /** Added to numbers of the x32 table. */
  readonly bit: number;
  /** Arguments are 32 bits wide: only the lower half is compared. */
  readonly narrow: boolean;
  number(name: string): number | undefined;
  /** A call that another call carries as its first argument (socketcall, ipc). */
  multiplexed?(name: string): { readonly number: number; readonly argument: number } | undefined;
}

export const x32Bit = 0x4000_0000;

/** x32 has its own entries for calls whose structs hold pointers or longs. */
// biome-ignore format: table
const x32Own: Readonly<Record<string, number>> = {
  rt_sigaction: 512, rt_sigreturn: 513, ioctl: 514, readv: 515, writev: 516, recvfrom: 517,
  sendmsg: 518, recvmsg: 519, execve: 520, ptrace: 521, rt_sigpending: 522, rt_sigtimedwait: 523,
  rt_sigqueueinfo: 524, sigaltstack: 525, timer_create: 526, mq_notify: 527, kexec_load: 528,
  waitid: 529, set_robust_list: 530, get_robust_list: 531, vmsplice: 532, move_pages: 533,
  preadv: 534, pwritev: 535, rt_tgsigqueueinfo: 536, recvmmsg: 537, sendmmsg: 538,
  process_vm_readv: 539, process_vm_writev: 540, setsockopt: 541, getsockopt: 542, io_setup: 543,
  io_submit: 544, execveat: 545, preadv2: 546, pwritev2: 547,
};

// biome-ignore format: table
const notInX32 = new Set([
  "uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl",
  "set_thread_area", "get_thread_area", "epoll_ctl_old", "epoll_wait_old", "vserver",
  "map_shadow_stack", "uretprobe",
]);

/** First argument of socketcall(2). */
// biome-ignore format: table
const socketcalls: Readonly<Record<string, number>> = {
  socket: 1, bind: 2, connect: 3, listen: 4, accept: 5, getsockname: 6, getpeername: 7,
  socketpair: 8, send: 9, recv: 10, sendto: 11, recvfrom: 12, shutdown: 13, setsockopt: 14,
  getsockopt: 15, sendmsg: 16, recvmsg: 17, accept4: 18, recvmmsg: 19, sendmmsg: 20,
};

/** First argument of ipc(2). */
// biome-ignore format: table
const ipcCalls: Readonly<Record<string, number>> = {
  semop: 1, semget: 2, semctl: 3, semtimedop: 4, msgsnd: 11, msgrcv: 12, msgget: 13, msgctl: 14,
  shmat: 21, shmdt: 22, shmget: 23, shmctl: 24,
};

const socketcall = 102;
const ipc = 117;

const x86_64: Architecture = {
  name: "SCMP_ARCH_X86_64",
  audit: AUDIT_ARCH_X86_64,
  bit: 0,
  narrow: false,
  number: (name) => lookUp(syscallsX86_64, name),
};

const x32: Architecture = {
  name: "SCMP_ARCH_X32",
  audit: AUDIT_ARCH_X86_64,
  bit: x32Bit,
  narrow: true,
  number: (name) =>
    notInX32.has(name) ? undefined : (lookUp(x32Own, name) ?? lookUp(syscallsX86_64, name)),
};

const i386: Architecture = {
  name: "SCMP_ARCH_X86",
  audit: AUDIT_ARCH_I386,
  bit: 0,
  narrow: true,
  number: (name) => lookUp(syscallsI386, name),
  multiplexed(name) {
    const inSocketcall = lookUp(socketcalls, name);
    if (inSocketcall !== undefined) return { number: socketcall, argument: inSocketcall };
    const inIpc = lookUp(ipcCalls, name);
    return inIpc === undefined ? undefined : { number: ipc, argument: inIpc };
  },
};

/** Own keys only: a rule named "constructor" must find nothing. */
function lookUp(table: Readonly<Record<string, number>>, name: string): number | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

const known: readonly Architecture[] = [x86_64, x32, i386];

/**
 * The tables a profile asks for. The kernel's own is always among them, as libseccomp does it;
 * those of other processors can never be seen by this kernel and are left out.
 */
export function architecturesOf(
  names: readonly SeccompArchitecture[] = [],
): readonly Architecture[] {
  return known.filter(({ name }) => name === "SCMP_ARCH_X86_64" || names.includes(name));
}
