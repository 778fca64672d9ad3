/** KVM for x86-64: structs, ioctls, capabilities. https://docs.kernel.org/virt/kvm/api.html */
import { bytes, i32, struct, u8, u16, u32, u64 } from "../../linux/index.ts";

export const kvm_userspace_memory_region = struct(32, {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

export const kvm_irq_level = struct(8, { irq: u32, level: u32 });

export const kvm_irqfd = struct(32, {
  fd: u32,
  gsi: u32,
  flags: u32,
  resamplefd: u32,
  pad: bytes(16),
});

export const kvm_ioeventfd = struct(64, {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: i32,
  flags: u32,
  pad: bytes(36),
});
export const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
export const KVM_IOEVENTFD_FLAG_DEASSIGN = 4;

export const kvm_pit_config = struct(64, { flags: u32, pad: bytes(60) });
export const KVM_PIT_SPEAKER_DUMMY = 1;

/** PIC master, PIC slave, IO-APIC: the chip's state follows. */
export const kvm_irqchip = struct(520, { chip_id: u32, pad: u32, chip: bytes(512) });
export const KVM_IRQCHIPS = [0, 1, 2] as const;
export const PIT_STATE_BYTES = 112;

export const kvm_clock_data = struct(48, {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: bytes(16),
});

export const kvm_regs = struct(144, {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

export const kvm_segment = struct(24, {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const kvm_dtable = struct(16, { base: u64, limit: u16, padding: bytes(6) });

/** Segments and tables are embedded; `state.ts` encodes them. */
export const kvm_sregs = struct(312, {
  cs: bytes(24),
  ds: bytes(24),
  es: bytes(24),
  fs: bytes(24),
  gs: bytes(24),
  ss: bytes(24),
  tr: bytes(24),
  ldt: bytes(24),
  gdt: bytes(16),
  idt: bytes(16),
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
  interrupt_bitmap: bytes(32),
});

export const kvm_mp_state = struct(4, { mp_state: u32 });

export const kvm_vcpu_events = struct(64, {
  exception_injected: u8,
  exception_nr: u8,
  exception_has_error_code: u8,
  exception_pending: u8,
  exception_error_code: u32,
  interrupt_injected: u8,
  interrupt_nr: u8,
  interrupt_soft: u8,
  interrupt_shadow: u8,
  nmi_injected: u8,
  nmi_pending: u8,
  nmi_masked: u8,
  nmi_pad: u8,
  sipi_vector: u32,
  flags: u32,
  smi: bytes(4),
  reserved: bytes(27),
  exception_has_payload: u8,
  exception_payload: u64,
});

export const kvm_debugregs = struct(128, {
  db0: u64,
  db1: u64,
  db2: u64,
  db3: u64,
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: bytes(72),
});

/** Up to 16 of them behind an 8-byte head; XCR0 is number 0. */
export const kvm_xcrs = struct(392, {
  nr_xcrs: u32,
  flags: u32,
  xcrs: bytes(256),
  padding: bytes(128),
});

export const kvm_cpuid_entry2 = struct(40, {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: bytes(12),
});
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

export const kvm_msr_entry = struct(16, { index: u32, reserved: u32, data: u64 });

/** Offsets in `struct kvm_run`, shared with the kernel. §5 */
// biome-ignore format: table
export const kvm_run = {
  immediate_exit: 1, exit_reason: 8, ready_for_interrupt_injection: 12, if_flag: 13,
  // KVM_EXIT_IO
  io_direction: 0x20, io_size: 0x21, io_port: 0x22, io_count: 0x24, io_data_offset: 0x28,
  // KVM_EXIT_MMIO
  mmio_phys_addr: 0x20, mmio_data: 0x28, mmio_len: 0x30, mmio_is_write: 0x34,
  // KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_SYSTEM_EVENT
  hardware_entry_failure_reason: 0x20, suberror: 0x20, system_event_type: 0x20,
} as const;

// biome-ignore format: table
export const exitReasons = {
  KVM_EXIT_UNKNOWN: 0, KVM_EXIT_EXCEPTION: 1, KVM_EXIT_IO: 2, KVM_EXIT_HYPERCALL: 3, KVM_EXIT_DEBUG: 4,
  KVM_EXIT_HLT: 5, KVM_EXIT_MMIO: 6, KVM_EXIT_IRQ_WINDOW_OPEN: 7, KVM_EXIT_SHUTDOWN: 8,
  KVM_EXIT_FAIL_ENTRY: 9, KVM_EXIT_INTR: 10, KVM_EXIT_INTERNAL_ERROR: 17, KVM_EXIT_SYSTEM_EVENT: 24,
  KVM_EXIT_IOAPIC_EOI: 26,
} as const;

const KVMIO = 0xae;
type Direction = 0 | 1 | 2 | 3;
/** ioctl(2): direction, size, type, number. Direction 1 writes to the kernel, 2 reads from it. */
function code(direction: Direction, number: number, sizeBytes: number): number {
  return direction * 2 ** 30 + sizeBytes * 2 ** 16 + KVMIO * 2 ** 8 + number;
}
const io = (number: number) => code(0, number, 0);
const iow = (number: number, sizeBytes: number) => code(1, number, sizeBytes);
const ior = (number: number, sizeBytes: number) => code(2, number, sizeBytes);
const iowr = (number: number, sizeBytes: number) => code(3, number, sizeBytes);

// biome-ignore format: table
export const kvmIoctls = {
  KVM_GET_API_VERSION:        io(0x00),                                       // §4.1
  KVM_CREATE_VM:              io(0x01),                                       // §4.2
  KVM_GET_MSR_INDEX_LIST:     iowr(0x02, 4),                                  // §4.3
  KVM_CHECK_EXTENSION:        io(0x03),                                       // §4.4
  KVM_GET_VCPU_MMAP_SIZE:     io(0x04),                                       // §4.5
  KVM_GET_SUPPORTED_CPUID:    iowr(0x05, 8),                                  // §4.46
  KVM_CREATE_VCPU:            io(0x41),                                       // §4.7
  KVM_GET_DIRTY_LOG:          iow(0x42, 16),                                  // §4.8
  KVM_SET_USER_MEMORY_REGION: iow(0x46, kvm_userspace_memory_region.sizeBytes), // §4.35
  KVM_SET_TSS_ADDR:           io(0x47),                                       // §4.36
  KVM_SET_IDENTITY_MAP_ADDR:  iow(0x48, 8),                                   // §4.41
  KVM_CREATE_IRQCHIP:         io(0x60),                                       // §4.24
  KVM_IRQ_LINE:               iow(0x61, kvm_irq_level.sizeBytes),             // §4.25
  KVM_GET_IRQCHIP:            iowr(0x62, 520),                                // §4.26
  KVM_SET_IRQCHIP:            ior(0x63, 520),                                 // §4.27
  KVM_IRQFD:                  iow(0x76, kvm_irqfd.sizeBytes),                 // §4.75
  KVM_CREATE_PIT2:            iow(0x77, kvm_pit_config.sizeBytes),            // §4.71
  KVM_IOEVENTFD:              iow(0x79, kvm_ioeventfd.sizeBytes),             // §4.59
  KVM_SET_CLOCK:              iow(0x7b, kvm_clock_data.sizeBytes),            // §4.30
  KVM_GET_CLOCK:              ior(0x7c, kvm_clock_data.sizeBytes),            // §4.29
  KVM_RUN:                    io(0x80),                                       // §4.10
  KVM_GET_REGS:               ior(0x81, kvm_regs.sizeBytes),                  // §4.11
  KVM_SET_REGS:               iow(0x82, kvm_regs.sizeBytes),                  // §4.12
  KVM_GET_SREGS:              ior(0x83, kvm_sregs.sizeBytes),                 // §4.13
  KVM_SET_SREGS:              iow(0x84, kvm_sregs.sizeBytes),                 // §4.14
  KVM_GET_MSRS:               iowr(0x88, 8),                                  // §4.18
  KVM_SET_MSRS:               iow(0x89, 8),                                   // §4.19
  KVM_SET_SIGNAL_MASK:        iow(0x8b, 4),                                   // §4.21
  KVM_SET_FPU:                iow(0x8d, 416),                                 // §4.23
  KVM_GET_LAPIC:              ior(0x8e, 1024),                                // §4.57
  KVM_SET_LAPIC:              iow(0x8f, 1024),                                // §4.58
  KVM_SET_CPUID2:             iow(0x90, 8),                                   // §4.20
  KVM_GET_CPUID2:             iowr(0x91, 8),                                  // §4.85
  KVM_GET_MP_STATE:           ior(0x98, kvm_mp_state.sizeBytes),              // §4.38
  KVM_SET_MP_STATE:           iow(0x99, kvm_mp_state.sizeBytes),              // §4.39
  KVM_GET_VCPU_EVENTS:        ior(0x9f, kvm_vcpu_events.sizeBytes),           // §4.31
  KVM_SET_VCPU_EVENTS:        iow(0xa0, kvm_vcpu_events.sizeBytes),           // §4.32
  KVM_GET_PIT2:               ior(0x9f, 112),                                 // §4.72, on the VM
  KVM_SET_PIT2:               iow(0xa0, 112),                                 // §4.73, on the VM
  KVM_GET_DEBUGREGS:          ior(0xa1, kvm_debugregs.sizeBytes),             // §4.33
  KVM_SET_DEBUGREGS:          iow(0xa2, kvm_debugregs.sizeBytes),             // §4.34
  KVM_SET_TSC_KHZ:            io(0xa2),                                       // §4.54
  KVM_GET_TSC_KHZ:            io(0xa3),                                       // §4.55
  KVM_GET_XSAVE:              ior(0xa4, 4096),                                // §4.42
  KVM_SET_XSAVE:              iow(0xa5, 4096),                                // §4.43
  KVM_GET_XCRS:               ior(0xa6, kvm_xcrs.sizeBytes),                  // §4.44
  KVM_SET_XCRS:               iow(0xa7, kvm_xcrs.sizeBytes),                  // §4.45
  KVM_KVMCLOCK_CTRL:          io(0xad),                                       // §4.68
  KVM_GET_XSAVE2:             ior(0xcf, 4096),                                // §4.134
} as const;

export type KvmIoctl = keyof typeof kvmIoctls;

/** KVM_CAP_*, linux/kvm.h. */
// biome-ignore format: table
export const capabilities = {
  IRQCHIP: 0, USER_MEMORY: 3, SET_TSS_ADDR: 4, EXT_CPUID: 7, MP_STATE: 14, IRQFD: 32, PIT2: 33,
  PIT_STATE2: 35, IOEVENTFD: 36, ADJUST_CLOCK: 39, VCPU_EVENTS: 41, DEBUGREGS: 50, XSAVE: 55,
  XCRS: 56, MAX_VCPUS: 66, TSC_DEADLINE_TIMER: 72, IMMEDIATE_EXIT: 136, XSAVE2: 208,
} as const;
