/** The CPU on /dev/kvm. */
import { kvmIoctls } from "./abi.ts";

export { KvmBackend, type KvmOptions } from "./backend.ts";
export { type KickTarget, kickVcpu } from "./kick-signal.ts";
export { hasHardwareVirtualization, KvmUnavailableError, openKvm } from "./kvm-fd.ts";
export { KvmVcpu } from "./vcpu.ts";
export { drainEventFd, KvmVm, type KvmVmOptions } from "./vm.ts";

/** Every ioctl that a running machine makes, for the monitor's filter. */
export const kvmRequests: readonly number[] = Object.values(kvmIoctls);
