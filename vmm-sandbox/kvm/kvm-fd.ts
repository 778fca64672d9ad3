/** ioctls by name on KVM's three kinds of descriptors. */
import {
  call,
  Fd,
  O_CLOEXEC,
  O_RDWR,
  type SyscallArgument,
  SyscallError,
  syscall,
} from "../../linux/index.ts";
import { capabilities, type KvmIoctl, kvmIoctls } from "./abi.ts";

/** There is no usable /dev/kvm; `cause` says which call failed. */
export class KvmUnavailableError extends Error {
  override readonly name = "KvmUnavailableError";
  readonly why: "missing" | "permission" | "version" | "capability";
  readonly hint: string;
  constructor(why: KvmUnavailableError["why"], message: string, hint: string, cause?: unknown) {
    super(`Cannot use /dev/kvm: ${message}`, { cause });
    this.why = why;
    this.hint = hint;
  }
}

/**
 * Whether the processor itself can run guests. A /dev/kvm alone is no proof: some interpret every
 * instruction, at about a million a second. `cpuinfo` is the text of /proc/cpuinfo.
 */
export function hasHardwareVirtualization(cpuinfo: string): boolean {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? "";
  return /\s(vmx|svm)(\s|$)/.test(flags);
}

/** Calls an ioctl whose name also names the failure. */
export function kvmCall(fd: Fd, name: KvmIoctl, argument: SyscallArgument = 0): number {
  try {
    return call("ioctl", fd, kvmIoctls[name], argument);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw new SyscallError({ ...error.failure, call: name, args: error.failure.args.slice(2) });
  }
}

/** As `kvmCall`, but returns -errno: for KVM_RUN, whose EINTR is no failure. */
export function kvmTry(fd: Fd, name: KvmIoctl, argument: SyscallArgument = 0): number {
  return syscall("ioctl", fd, kvmIoctls[name], argument);
}

const needed = [
  "IRQCHIP",
  "USER_MEMORY",
  "SET_TSS_ADDR",
  "EXT_CPUID",
  "MP_STATE",
  "IRQFD",
  "PIT2",
  "PIT_STATE2",
  "IOEVENTFD",
  "ADJUST_CLOCK",
  "VCPU_EVENTS",
  "DEBUGREGS",
  "XSAVE",
  "XCRS",
  "IMMEDIATE_EXIT",
] as const;

const API_VERSION = 12;
const SOFTWARE_HINT = "Run with --cpu software: the software CPU needs no KVM";

/** Opens /dev/kvm (or `path`, for tests; or takes a descriptor) and checks that it is all we need. */
export function openKvm(path: string | number = "/dev/kvm"): Fd {
  const number =
    typeof path === "number" ? path : syscall("openat", -100, path, O_RDWR | O_CLOEXEC);
  if (number < 0) throw explainOpen(`${path}`, number);
  const fd = Fd.take(number);
  try {
    checkKvm(fd);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

function explainOpen(path: string, result: number): KvmUnavailableError {
  const [ENOENT, EACCES, EPERM] = [-2, -13, -1];
  if (result === EACCES || result === EPERM) {
    return new KvmUnavailableError(
      "permission",
      `no permission to open "${path}"`,
      `Add yourself to the group that owns it (usually: usermod -aG kvm $USER), or run with --cpu software`,
    );
  }
  const missing =
    result === ENOENT ? "it does not exist" : `opening "${path}" failed with errno ${-result}`;
  return new KvmUnavailableError(
    "missing",
    missing,
    `Load kvm_intel or kvm_amd and enable virtualisation in the firmware, or run with --cpu software`,
  );
}

function checkKvm(fd: Fd): void {
  const version = kvmTry(fd, "KVM_GET_API_VERSION");
  if (version !== API_VERSION) {
    throw new KvmUnavailableError(
      "version",
      `it speaks API version ${version}, expected ${API_VERSION}`,
      SOFTWARE_HINT,
    );
  }
  for (const name of needed) {
    if (checkExtension(fd, name) <= 0) {
      throw new KvmUnavailableError("capability", `it lacks KVM_CAP_${name}`, SOFTWARE_HINT);
    }
  }
}

export function checkExtension(fd: Fd, name: keyof typeof capabilities): number {
  return kvmTry(fd, "KVM_CHECK_EXTENSION", capabilities[name]);
}
