/** The CPU on /dev/kvm. */
export { KvmBackend, type KvmOptions } from "./backend.ts";
export { type KickTarget, kickVcpu } from "./kick-signal.ts";
export { hasHardwareVirtualization, KvmUnavailableError, openKvm } from "./kvm-fd.ts";
export { KvmVcpu } from "./vcpu.ts";
export { drainEventFd, KvmVm, type KvmVmOptions } from "./vm.ts";
