/**
 * Where things are in the guest's physical address space.
 *
 * ```
 * 0x0000_0000  RAM: boot structures, then the kernel at 1 MiB
 * 0xC000_0000  hole of 1 GiB: nothing but devices
 *   0xD000_0000  virtio-mmio windows, one page each
 *   0xFEC0_0000  IO-APIC
 *   0xFEE0_0000  local APIC
 *   0xFFFB_C000  identity map page and TSS pages that KVM wants on Intel
 * 0x1_0000_0000  the rest of the RAM
 * ```
 */
export const PAGE_SIZE = 0x1000;
export const HOLE_START = 0xc000_0000;
export const HOLE_END = 0x1_0000_0000;

export const VIRTIO_MMIO_BASE = 0xd000_0000;
export const VIRTIO_MMIO_WINDOW = 0x1000;
export const IO_APIC_ADDRESS = 0xfec0_0000;
export const LOCAL_APIC_ADDRESS = 0xfee0_0000;
export const KVM_IDENTITY_MAP_ADDRESS = 0xfffb_c000;
export const KVM_TSS_ADDRESS = 0xfffb_d000;

/** Global system interrupts: pins of the one IO-APIC. 0 to 15 are the ISA ones. */
export const IO_APIC_PINS = 24;
export const COM1_GSI = 4;
export const SCI_GSI = 9;
/** Device lines are handed out from here to IO_APIC_PINS - 1, without the SCI's. */
export const FIRST_DEVICE_GSI = 5;

export const COM1_PORT = 0x3f8;
/** The i8042: data here, commands 4 above; `reboot=k` writes 0xfe to the latter. */
export const I8042_PORT = 0x60;
/** Hardware-reduced ACPI's sleep and reset registers (we choose the ports). */
export const ACPI_PORT = 0x600;

/** Below the kernel; nothing here is used once Linux has read it. */
export const BOOT = {
  gdt: 0x500,
  idt: 0x520,
  startInfo: 0x6000,
  moduleList: 0x6040,
  memoryMap: 0x7000,
  zeroPage: 0x7000,
  stack: 0x8ff0,
  pml4: 0x9000,
  pdpt: 0xa000,
  pageDirectory: 0xb000,
  commandLine: 0x2_0000,
  /** Everything from here to 1 MiB is reserved in the memory map. */
  reserved: 0x9_fc00,
  /** 16 bytes that stay in use: the VM generation ID. */
  generationId: 0x9_fd00,
  rsdp: 0xe_0000,
  acpiTables: 0xe_1000,
  highMemory: 0x10_0000,
} as const;

/** Linux's x86 COMMAND_LINE_SIZE, NUL included. */
export const COMMAND_LINE_LIMIT = 2048;
