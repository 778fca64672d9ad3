/** The CPU on /dev/kvm. */
export { KvmBackend, type KvmOptions } from "./backend.ts";

export { KvmUnavailableError, openKvm } from "./kvm-fd.ts";
export { startWorker } from "./start-worker.ts";
export { type KickTarget, KvmVcpu, kickVcpu } from "./vcpu.ts";
export { drainEventFd, KvmVm, type KvmVmOptions } from "./vm.ts";
