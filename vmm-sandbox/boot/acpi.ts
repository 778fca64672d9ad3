/**
 * ACPI tables of a hardware-reduced machine, so that an unmodified Linux finds its devices.
 *
 * ```
 * RSDP ─ XSDT ─┬─ FADT ── DSDT   devices: virtio-mmio, COM1, VM generation id, event device
 *              └─ MADT           local APICs and the IO-APIC
 * ```
 * ACPI 6.5; sections beside each table. Sleep, sleep status and reset are three ports of ours,
 * named in the FADT: that is all the power management there is.
 */
import {
  type Aml,
  argument,
  ascii,
  concat,
  device,
  eisaId,
  equal,
  ifTrue,
  integer,
  interrupt,
  ioPorts,
  littleEndian,
  memory32Fixed,
  method,
  name,
  notify,
  pack,
  resources,
  scope,
  string,
} from "./aml.ts";

export interface AcpiMachine {
  readonly cpus: number;
  readonly virtio: readonly VirtioWindow[];
  /** IRQ of the 16550 at 0x3f8, when the machine has one. */
  readonly com1?: { readonly port: number; readonly gsi: number };
  /** Page that holds the 16-byte generation id, and the event device's line. */
  readonly generation?: { readonly address: number; readonly gsi: number };
  readonly ioApic: number;
  readonly localApic: number;
  /** First of three ports: sleep control, sleep status, reset. */
  readonly powerPort: number;
}

export interface VirtioWindow {
  readonly base: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

/** What the power ports' writer looks for. §4.8.3.7: SLP_TYPx bits 2 to 4, SLP_EN bit 5. */
export const SLEEP_TYPE_S5 = 5;
export const SLEEP_ENABLE = 1 << 5;
export const RESET_VALUE = 0x77;

const OEM = "MANYWO";
const OEM_TABLE = "MANYWRLD";

/** The tables laid out from `tablesAddress` on, and the RSDP that points at them. */
export function planAcpi(
  machine: AcpiMachine,
  tablesAddress: number,
): { readonly rsdp: Uint8Array; readonly tables: Uint8Array } {
  const parts: Uint8Array[] = [];
  let at = tablesAddress;
  const place = (table: Uint8Array): number => {
    const address = at;
    const padded = new Uint8Array(Math.ceil(table.length / 16) * 16);
    padded.set(table);
    parts.push(padded);
    at += padded.length;
    return address;
  };
  const dsdt = place(encodeDsdt(machine));
  const fadt = place(encodeFadt(machine, dsdt));
  const madt = place(encodeMadt(machine));
  const xsdt = place(encodeXsdt([fadt, madt]));
  return { rsdp: encodeRsdp(xsdt), tables: concat(...parts) };
}

/** §5.2.5.3 Root System Description Pointer, revision 2. */
export function encodeRsdp(xsdtAddress: number): Uint8Array {
  const rsdp = concat(
    ascii("RSD PTR "),
    [0], // checksum of the first 20 bytes
    ascii(OEM),
    [2],
    littleEndian(0, 4), // no RSDT
    littleEndian(36, 4),
    littleEndian(xsdtAddress, 8),
    [0], // checksum of all
    [0, 0, 0],
  );
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  return rsdp;
}

/** §5.2.8 Extended System Description Table. */
function encodeXsdt(tables: readonly number[]): Uint8Array {
  return withHeader("XSDT", 1, concat(...tables.map((address) => littleEndian(address, 8))));
}

/** §5.2.9 Fixed ACPI Description Table, revision 6.5: 276 bytes. */
export function encodeFadt(machine: AcpiMachine, dsdtAddress: number): Uint8Array {
  const body = new Uint8Array(276 - 36);
  const put = (offset: number, value: number | bigint, sizeBytes: number) =>
    body.set(littleEndian(value, sizeBytes), offset - 36);
  const PWR_BUTTON = 1 << 4;
  const SLP_BUTTON = 1 << 5;
  const RESET_REG_SUP = 1 << 10;
  const HW_REDUCED_ACPI = 1 << 20;
  // IAPC_BOOT_ARCH: no VGA, no CMOS clock; no legacy devices and no 8042 either.
  const VGA_NOT_PRESENT = 1 << 2;
  const CMOS_RTC_NOT_PRESENT = 1 << 5;
  put(40, dsdtAddress, 4);
  put(109, VGA_NOT_PRESENT | CMOS_RTC_NOT_PRESENT, 2);
  put(112, PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI, 4);
  body.set(portRegister(machine.powerPort + 2), 116 - 36); // RESET_REG
  put(128, RESET_VALUE, 1);
  put(131, 5, 1); // FADT minor version
  put(140, dsdtAddress, 8);
  body.set(portRegister(machine.powerPort), 244 - 36); // SLEEP_CONTROL_REG
  body.set(portRegister(machine.powerPort + 1), 256 - 36); // SLEEP_STATUS_REG
  body.set(ascii(OEM), 268 - 36); // hypervisor vendor identity
  return withHeader("FACP", 6, body);
}

/** §5.2.3.2 Generic Address Structure of a byte-wide port. */
function portRegister(port: number): Uint8Array {
  const SYSTEM_IO = 1;
  const BYTE_ACCESS = 1;
  return concat([SYSTEM_IO, 8, 0, BYTE_ACCESS], littleEndian(port, 8));
}

/** §5.2.12 Multiple APIC Description Table. */
export function encodeMadt(machine: AcpiMachine): Uint8Array {
  const cpus = Array.from(
    { length: machine.cpus },
    (_, id) =>
      id < 255
        ? concat([0, 8, id, id], littleEndian(1, 4)) // §5.2.12.2 Processor Local APIC, enabled
        : concat([9, 16, 0, 0], ...[id, 1, id].map((word) => littleEndian(word, 4))), // §5.2.12.12
  );
  const ioApic = concat([1, 12, 0, 0], littleEndian(machine.ioApic, 4), littleEndian(0, 4)); // §5.2.12.3
  const flags = 0; // no 8259
  return withHeader(
    "APIC",
    6,
    concat(littleEndian(machine.localApic, 4), littleEndian(flags, 4), ...cpus, ioApic),
  );
}

/** §5.2.11.1 Differentiated System Description Table. */
export function encodeDsdt(machine: AcpiMachine): Uint8Array {
  const devices: Aml[] = machine.virtio.map(describeVirtio);
  if (machine.com1 !== undefined) devices.push(describeSerial(machine.com1));
  if (machine.generation !== undefined) devices.push(...describeGeneration(machine.generation));
  return withHeader(
    "DSDT",
    2,
    concat(
      scope("\\_SB", ...devices),
      // §7.4.2: the value for SLP_TYP; Linux wants two of them.
      name("\\_S5", pack(integer(SLEEP_TYPE_S5), integer(0), integer(0), integer(0))),
    ),
  );
}

/** "LNRO0005" is what Linux's virtio_mmio driver matches. */
function describeVirtio(window: VirtioWindow, index: number): Aml {
  return device(
    `V${index.toString(16).toUpperCase().padStart(3, "0")}`,
    name("_HID", string("LNRO0005")),
    name("_UID", integer(index)),
    name("_CCA", integer(1)),
    name("_CRS", resources(memory32Fixed(window.base, window.sizeBytes), interrupt(window.gsi))),
  );
}

function describeSerial(com1: { readonly port: number; readonly gsi: number }): Aml {
  return device(
    "COM1",
    name("_HID", eisaId("PNP0501")),
    name("_UID", integer(0)),
    name("_CRS", resources(ioPorts(com1.port, 8), interrupt(com1.gsi))),
  );
}

/**
 * The Virtual Machine Generation ID (Microsoft's paper of that name, 2012) and the Generic Event
 * Device (§5.6.9) that tells the guest when it changed.
 */
function describeGeneration(generation: {
  readonly address: number;
  readonly gsi: number;
}): readonly Aml[] {
  const low = generation.address % 2 ** 32;
  const high = Math.floor(generation.address / 2 ** 32);
  return [
    device(
      "VGEN",
      // Linux's table of ids holds nine characters, so "VM_Gen_Counter" alone is not found.
      name("_HID", string("VMGENCTR")),
      name("_CID", string("VM_Gen_Counter")),
      name("_DDN", string("VM_Gen_Counter")),
      name("ADDR", pack(integer(low), integer(high))),
    ),
    device(
      "GED",
      name("_HID", string("ACPI0013")),
      name("_UID", integer(0)),
      name("_CRS", resources(interrupt(generation.gsi))),
      method(
        "_EVT",
        { args: 1, serialized: true },
        ifTrue(equal(argument(0), integer(generation.gsi)), notify("\\_SB.VGEN", 0x80)),
      ),
    ),
  ];
}

/** §5.2.6 System Description Table Header. */
function withHeader(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = concat(
    ascii(signature),
    littleEndian(36 + body.length, 4),
    [revision, 0],
    ascii(OEM),
    ascii(OEM_TABLE),
    littleEndian(1, 4),
    ascii("MANY"),
    littleEndian(1, 4),
    body,
  );
  table[9] = checksum(table);
  return table;
}

/** The byte that makes the sum of all bytes 0. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
