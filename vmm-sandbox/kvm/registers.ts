/** Between KVM's register structs and the machine's plain data. */
import type {
  DescriptorTable,
  GeneralRegisters,
  MpState,
  PendingEvents,
  Segment,
  SystemRegisters,
} from "../machine/vcpu.ts";
import { segmentNames } from "../machine/vcpu.ts";
import { kvm_dtable, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events } from "./abi.ts";

export function decodeGeneral(bytes: Uint8Array): GeneralRegisters {
  return kvm_regs.decode(bytes);
}

export function encodeGeneral(registers: Partial<GeneralRegisters>): Uint8Array {
  return kvm_regs.encode(registers);
}

export function decodeSystem(bytes: Uint8Array): SystemRegisters {
  const { interrupt_bitmap: _, apic_base, gdt, idt, ...raw } = kvm_sregs.decode(bytes);
  const segments = Object.fromEntries(segmentNames.map((name) => [name, decodeSegment(raw[name])]));
  return {
    // SAFE: one entry for each of segmentNames.
    ...(segments as Record<(typeof segmentNames)[number], Segment>),
    gdt: decodeTable(gdt),
    idt: decodeTable(idt),
    cr0: raw.cr0,
    cr2: raw.cr2,
    cr3: raw.cr3,
    cr4: raw.cr4,
    cr8: raw.cr8,
    efer: raw.efer,
    apicBase: apic_base,
  };
}

export function encodeSystem(system: SystemRegisters): Uint8Array {
  const segments = Object.fromEntries(
    segmentNames.map((name) => [name, kvm_segment.encode(system[name])]),
  );
  return kvm_sregs.encode({
    ...segments,
    gdt: kvm_dtable.encode(system.gdt),
    idt: kvm_dtable.encode(system.idt),
    cr0: system.cr0,
    cr2: system.cr2,
    cr3: system.cr3,
    cr4: system.cr4,
    cr8: system.cr8,
    efer: system.efer,
    apic_base: system.apicBase,
  });
}

function decodeSegment(bytes: Uint8Array): Segment {
  const { padding: _, ...segment } = kvm_segment.decode(bytes);
  return segment;
}

function decodeTable(bytes: Uint8Array): DescriptorTable {
  const { base, limit } = kvm_dtable.decode(bytes);
  return { base, limit };
}

/** KVM_MP_STATE_*, in the kernel's order. api.html §4.38 */
const mpStates: readonly MpState[] = [
  "running",
  "uninitialized",
  "init-received",
  "halted",
  "sipi-received",
];

export function decodeMpState(value: number): MpState {
  const state = mpStates[value];
  if (state === undefined) throw new RangeError(`Cannot read MP state ${value}: expected 0 to 4`);
  return state;
}

export function encodeMpState(state: MpState): number {
  return mpStates.indexOf(state);
}

export function decodeEvents(bytes: Uint8Array): PendingEvents {
  const raw = kvm_vcpu_events.decode(bytes);
  const exception = raw.exception_injected !== 0 || raw.exception_pending !== 0;
  return {
    ...(exception
      ? {
          exception: {
            vector: raw.exception_nr,
            ...(raw.exception_has_error_code !== 0 ? { errorCode: raw.exception_error_code } : {}),
          },
        }
      : {}),
    ...(raw.interrupt_injected !== 0
      ? { interrupt: { vector: raw.interrupt_nr, soft: raw.interrupt_soft !== 0 } }
      : {}),
    interruptShadow: raw.interrupt_shadow !== 0,
    nmiPending: raw.nmi_pending !== 0,
    nmiMasked: raw.nmi_masked !== 0,
  };
}

export function encodeEvents(events: PendingEvents): Uint8Array {
  const VALID_NMI_PENDING = 1;
  const VALID_SHADOW = 4;
  return kvm_vcpu_events.encode({
    exception_injected: events.exception === undefined ? 0 : 1,
    exception_nr: events.exception?.vector ?? 0,
    exception_has_error_code: events.exception?.errorCode === undefined ? 0 : 1,
    exception_error_code: events.exception?.errorCode ?? 0,
    interrupt_injected: events.interrupt === undefined ? 0 : 1,
    interrupt_nr: events.interrupt?.vector ?? 0,
    interrupt_soft: events.interrupt?.soft === true ? 1 : 0,
    interrupt_shadow: events.interruptShadow ? 1 : 0,
    nmi_pending: events.nmiPending ? 1 : 0,
    nmi_masked: events.nmiMasked ? 1 : 0,
    flags: VALID_NMI_PENDING | VALID_SHADOW,
  });
}
