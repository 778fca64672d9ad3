/** Model-specific registers: what a vCPU boots with, and lists for a snapshot. */
import type { Fd } from "../../linux/index.ts";
import { kvm_msr_entry } from "./abi.ts";
import { kvmCall } from "./kvm-fd.ts";

export type MsrValue = readonly [index: number, value: bigint];

/** As firmware leaves them. Intel SDM vol. 4, AMD APM vol. 2 appendix A. */
// biome-ignore format: table
export const bootMsrs: readonly MsrValue[] = [
  [0x174, 0n],                      // IA32_SYSENTER_CS
  [0x175, 0n],                      // IA32_SYSENTER_ESP
  [0x176, 0n],                      // IA32_SYSENTER_EIP
  [0xc000_0081, 0n],                // STAR
  [0xc000_0082, 0n],                // LSTAR
  [0xc000_0083, 0n],                // CSTAR
  [0xc000_0084, 0n],                // SYSCALL_MASK
  [0xc000_0102, 0n],                // KERNEL_GS_BASE
  [0x10, 0n],                       // IA32_TIME_STAMP_COUNTER
  [0x1a0, 1n],                      // IA32_MISC_ENABLE: fast strings
  [0x2ff, (1n << 11n) | 6n],        // IA32_MTRR_DEF_TYPE: enabled, write-back
];

export const IA32_TSC = 0x10;
export const IA32_TSC_DEADLINE = 0x6e0;
/** KVM refuses longer lists (MAX_IO_MSRS). */
const MAX_ENTRIES = 256;
/** Hyper-V's: KVM lists them always, we never offer them, and two of them are running clocks. */
const [HYPER_V_FIRST, HYPER_V_LAST] = [0x4000_0000, 0x4000_01ff];
const MAX_INDICES = 4096;

/** Sets all of them or throws, naming the first that was refused. */
export function setMsrs(vcpu: Fd, values: readonly MsrValue[]): void {
  for (let at = 0; at < values.length; at += MAX_ENTRIES) {
    const chunk = values.slice(at, at + MAX_ENTRIES);
    const done = kvmCall(vcpu, "KVM_SET_MSRS", encodeMsrs(chunk));
    const refused = chunk[done];
    if (refused !== undefined) {
      throw new RangeError(
        `Cannot set MSR 0x${refused[0].toString(16)} to 0x${refused[1].toString(16)}: KVM refused it`,
      );
    }
  }
}

/**
 * As `setMsrs`, for a saved state: an MSR that belongs to a feature which this guest was not
 * offered reads as 0 and cannot be written at all, so refused zeros are passed over.
 */
export function restoreMsrs(vcpu: Fd, values: readonly MsrValue[]): void {
  for (let left = values; left.length > 0; ) {
    const chunk = left.slice(0, MAX_ENTRIES);
    const done = kvmCall(vcpu, "KVM_SET_MSRS", encodeMsrs(chunk));
    const refused = chunk[done];
    if (refused !== undefined && refused[1] !== 0n) setMsrs(vcpu, [refused]);
    left = left.slice(refused === undefined ? chunk.length : done + 1);
  }
}

/** Values of those that can be read; KVM stops at the first it cannot, which is skipped. */
export function getMsrs(vcpu: Fd, indices: readonly number[]): readonly MsrValue[] {
  const found: MsrValue[] = [];
  for (let at = 0; at < indices.length; ) {
    const chunk = indices.slice(at, at + MAX_ENTRIES);
    const list = encodeMsrs(chunk.map((index) => [index, 0n]));
    const done = kvmCall(vcpu, "KVM_GET_MSRS", list);
    for (let i = 0; i < done; i++) {
      const { index, data } = kvm_msr_entry.decode(list, 8 + i * kvm_msr_entry.sizeBytes);
      found.push([index, data]);
    }
    at += done < chunk.length ? done + 1 : done;
  }
  return found;
}

/** KVM's list of MSRs that make up a guest's state. */
export function listMsrs(system: Fd): readonly number[] {
  const list = new Uint8Array(4 + MAX_INDICES * 4);
  const view = new DataView(list.buffer);
  view.setUint32(0, MAX_INDICES, true);
  kvmCall(system, "KVM_GET_MSR_INDEX_LIST", list);
  const count = Math.min(view.getUint32(0, true), MAX_INDICES);
  const indices = Array.from({ length: count }, (_, i) => view.getUint32(4 + i * 4, true));
  return indices.filter((index) => index < HYPER_V_FIRST || index > HYPER_V_LAST);
}

function encodeMsrs(values: readonly MsrValue[]): Uint8Array {
  const list = new Uint8Array(8 + values.length * kvm_msr_entry.sizeBytes);
  new DataView(list.buffer).setUint32(0, values.length, true);
  values.forEach(([index, data], i) => {
    list.set(kvm_msr_entry.encode({ index, data }), 8 + i * kvm_msr_entry.sizeBytes);
  });
  return list;
}
