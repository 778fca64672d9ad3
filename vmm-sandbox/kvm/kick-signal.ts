/**
 * Interrupts a thread that is inside KVM_RUN, from another thread of the process.
 *
 * The signal needs a handler: its default action would end the process, and an ignored signal
 * interrupts nothing. The handler is two instructions of our own, since no JavaScript may run
 * there: it returns, and its restorer calls rt_sigreturn. (Blocking the signal but for KVM_RUN, by
 * KVM_SET_SIGNAL_MASK, would need no handler, but a kick that comes late stays pending, and Bun
 * unblocks it when it ends the thread.) sigaction(2), signal(7)
 */
import {
  call,
  kernel_sigaction,
  mapMemory,
  PROT_EXEC,
  PROT_READ,
  sigsetSizeBytes,
  syscall,
  viewMemory,
} from "../../linux/index.ts";
import { kvm_run } from "./abi.ts";

/** What another thread needs to kick a vCPU: plain numbers, fit for postMessage. */
export interface KickTarget {
  readonly runAddress: number;
  readonly pid: number;
  readonly tid: number;
}

/** A real-time signal that neither glibc nor Node nor Bun uses. */
export const KICK_SIGNAL = 38;
const SA_RESTORER = 0x0400_0000;
const SA_RESTART = 0x1000_0000;
const CODE_BYTES = 4096;
/** handler: ret. restorer, 16 bytes on: mov eax, 15 (rt_sigreturn); syscall. */
const HANDLER = [0xc3];
const RESTORER = [0xb8, 15, 0, 0, 0, 0x0f, 0x05];
const RESTORER_OFFSET = 16;

let installed = false;

/** Once for each thread; the last one's stays. The code is never unmapped. */
export function installKickHandler(): void {
  if (installed) return;
  const code = mapMemory(CODE_BYTES);
  code.bytes.set(HANDLER);
  code.bytes.set(RESTORER, RESTORER_OFFSET);
  call("mprotect", code.address, CODE_BYTES, PROT_READ | PROT_EXEC);
  const action = kernel_sigaction.encode({
    handler: code.address,
    flags: SA_RESTORER | SA_RESTART,
    restorer: code.address + RESTORER_OFFSET,
  });
  call("rt_sigaction", KICK_SIGNAL, action, 0, sigsetSizeBytes);
  installed = true;
}

/** Makes the vCPU's `run` return "kicked", from any thread of the process. */
export function kickVcpu(target: KickTarget): void {
  viewMemory(target.runAddress, CODE_BYTES)[kvm_run.immediate_exit] = 1;
  syscall("tgkill", target.pid, target.tid, KICK_SIGNAL);
}
