/** State of the chips inside KVM that belong to no vCPU: interrupt controllers, timer, clock. */
import type { Fd } from "../../linux/index.ts";
import { KVM_IRQCHIPS, kvm_clock_data, kvm_irqchip, PIT_STATE_BYTES } from "./abi.ts";
import { kvmCall } from "./kvm-fd.ts";

export interface ChipState {
  /** struct kvm_irqchip of both 8259s and the IO-APIC. */
  readonly irqchips: readonly Uint8Array[];
  readonly pit: Uint8Array;
  /** kvm-clock, in nanoseconds: the guest's time goes on from here. */
  readonly clock: bigint;
}

export function saveChips(vm: Fd): ChipState {
  const irqchips = KVM_IRQCHIPS.map((chip_id) => {
    const bytes = kvm_irqchip.encode({ chip_id });
    kvmCall(vm, "KVM_GET_IRQCHIP", bytes);
    return bytes;
  });
  const pit = new Uint8Array(PIT_STATE_BYTES);
  kvmCall(vm, "KVM_GET_PIT2", pit);
  const clock = new Uint8Array(kvm_clock_data.sizeBytes);
  kvmCall(vm, "KVM_GET_CLOCK", clock);
  return { irqchips, pit, clock: kvm_clock_data.decode(clock).clock };
}

export function restoreChips(vm: Fd, state: ChipState): void {
  for (const bytes of state.irqchips) kvmCall(vm, "KVM_SET_IRQCHIP", bytes.slice());
  kvmCall(vm, "KVM_SET_PIT2", state.pit.slice());
  kvmCall(vm, "KVM_SET_CLOCK", kvm_clock_data.encode({ clock: state.clock }));
}
