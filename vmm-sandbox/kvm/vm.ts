/**
 * A KVM virtual machine: guest RAM, interrupt controllers, timer, and the eventfds that carry
 * notifications past JavaScript. The order of calls matters: api.html §4.24, §4.36.
 */
import {
  call,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  Fd,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
  syscall,
  viewMemory,
} from "../../linux/index.ts";
import {
  GuestMemory,
  type MemoryRegion,
  type RamRange,
  ramRanges,
} from "../machine/guest-memory.ts";
import type { InterruptController, InterruptLine } from "../machine/interrupts.ts";
import {
  IO_APIC_PINS,
  KVM_IDENTITY_MAP_ADDRESS,
  KVM_TSS_ADDRESS,
  PAGE_SIZE,
} from "../machine/layout.ts";
import {
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_PIT_SPEAKER_DUMMY,
  kvm_cpuid_entry2,
  kvm_ioeventfd,
  kvm_irqfd,
  kvm_pit_config,
  kvm_userspace_memory_region,
} from "./abi.ts";
import type { CpuidEntry } from "./cpuid.ts";
import { checkExtension, kvmCall, openKvm } from "./kvm-fd.ts";
import { VmMaker } from "./vm-maker.ts";

export interface KvmVmOptions {
  readonly memorySizeBytes: number;
  /** Without it the guest has no interrupt controllers, and HLT returns to us. */
  readonly irqchip?: boolean;
  /** Of /dev/kvm, or an open descriptor, which is the VM's from then on. */
  readonly path?: string | number;
}

interface MappedRam extends RamRange {
  /** Of the first byte in this process. */
  readonly address: number;
}

/** What a vCPU needs of its VM. */
export interface KvmHandle {
  readonly system: Fd;
  readonly fd: Fd;
  readonly hasIrqchip: boolean;
  readonly vcpuMmapBytes: number;
  readonly xsaveBytes: number;
  readonly supportedCpuid: readonly CpuidEntry[];
}

const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const HUGE_PAGE = 2 * 2 ** 20;
const VIEW_BYTES = 2 ** 31;
/** More than any device takes at once. */
const VIEW_OVERLAP_BYTES = 128 * 2 ** 20;
/** More CPUID leaves than any host reports. */
const MAX_CPUID_ENTRIES = 256;

export class KvmVm implements KvmHandle, InterruptController, Disposable {
  readonly system: Fd;
  readonly memory: GuestMemory;
  readonly hasIrqchip: boolean;
  readonly vcpuMmapBytes: number;
  readonly xsaveBytes: number;
  readonly supportedCpuid: readonly CpuidEntry[];
  readonly #ram: readonly MappedRam[];
  readonly #lines = new Map<number, IrqfdLine>();
  readonly #bells = new Set<Fd>();
  #maker: VmMaker | undefined;
  #fd: Fd | undefined = undefined;
  /** What waits for the VM to be made. */
  readonly #waiting: (() => void)[] = [];

  constructor(options: KvmVmOptions) {
    this.system = openKvm(options.path);
    this.vcpuMmapBytes = kvmCall(this.system, "KVM_GET_VCPU_MMAP_SIZE");
    this.xsaveBytes = Math.max(4096, checkExtension(this.system, "XSAVE2"));
    this.supportedCpuid = readSupportedCpuid(this.system);
    this.hasIrqchip = options.irqchip ?? true;
    this.#ram = ramRanges(options.memorySizeBytes).map((range) => ({
      ...range,
      address: mapRam(range.sizeBytes),
    }));
    this.memory = new GuestMemory(this.#ram.flatMap(viewsOf));
    // Nothing fails here any more, so that whoever has us can close it.
    this.#maker = new VmMaker(this.system);
  }

  /** Of the VM; waits for it the first time. Throws SyscallError when it cannot be made. */
  get fd(): Fd {
    return this.#fd ?? this.#finish();
  }

  /** The line of an IO-APIC pin: a write to an eventfd. */
  line(gsi: number): IrqfdLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= IO_APIC_PINS) {
      throw new RangeError(`Cannot use interrupt line ${gsi}: expected 0 to ${IO_APIC_PINS - 1}`);
    }
    const known = this.#lines.get(gsi);
    if (known !== undefined) return known;
    const fd = eventFd();
    this.#whenMade(() => kvmCall(this.fd, "KVM_IRQFD", kvm_irqfd.encode({ fd: fd.number, gsi })));
    const line = new IrqfdLine(gsi, fd);
    this.#lines.set(gsi, line);
    return line;
  }

  /**
   * An eventfd that counts the guest's 4-byte writes of `value` to `address`, without an exit.
   * It stays the VM's; `unbind` ends it.
   */
  bindBell(address: number, value: number): Fd {
    const fd = eventFd();
    this.#whenMade(() => kvmCall(this.fd, "KVM_IOEVENTFD", bell(address, value, fd, 0)));
    this.#bells.add(fd);
    return fd;
  }

  unbindBell(fd: Fd, address: number, value: number): void {
    // One that never rang: the machine was not finished.
    if (this.#fd !== undefined)
      kvmCall(this.#fd, "KVM_IOEVENTFD", bell(address, value, fd, KVM_IOEVENTFD_FLAG_DEASSIGN));
    this.#bells.delete(fd);
    fd.close();
  }

  /**
   * Puts part of a file where guest RAM is, copy-on-write, without reading it. False when that is
   * not possible because the parts do not lie alike within their pages.
   */
  mapFile(fd: Fd, fileOffset: number, guestAddress: number, sizeBytes: number): boolean {
    const host = this.#hostAddress(guestAddress, sizeBytes);
    if (host === undefined || fileOffset % PAGE_SIZE !== 0 || guestAddress % PAGE_SIZE !== 0)
      return false;
    const whole = Math.floor(sizeBytes / PAGE_SIZE) * PAGE_SIZE;
    if (whole === 0) return false;
    const flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
    call("mmap", host, whole, PROT_READ | PROT_WRITE, flags, fd, fileOffset);
    if (whole < sizeBytes) {
      // The rest of the last page must not bring what follows in the file.
      const tail = this.memory.window(guestAddress + whole, sizeBytes - whole);
      call("pread64", fd, tail, tail.length, fileOffset + whole);
    }
    return true;
  }

  /** Frees whole pages of guest RAM; a page of a mapped file is the file's again. madvise(2) */
  discard(guestAddress: number, sizeBytes: number): void {
    const host = this.#hostAddress(guestAddress, sizeBytes);
    if (host !== undefined) call("madvise", host, sizeBytes, MADV_DONTNEED);
  }

  #hostAddress(guestAddress: number, sizeBytes: number): number | undefined {
    const region = this.#ram.find(
      (ram) =>
        guestAddress >= ram.guestAddress &&
        guestAddress + sizeBytes <= ram.guestAddress + ram.sizeBytes,
    );
    return region === undefined ? undefined : region.address + (guestAddress - region.guestAddress);
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#lines.values()) fd.close();
    for (const fd of this.#bells) fd.close();
    this.#close();
    this.system.close();
    for (const { address, sizeBytes } of this.#ram) syscall("munmap", address, sizeBytes);
  }

  #close(): void {
    const maker = this.#maker;
    this.#maker = undefined;
    try {
      (this.#fd ?? maker?.take())?.close();
    } catch {
      // It could not be made, which nobody has asked for.
    }
  }

  /** In this order: api.html §4.24, §4.36. */
  #finish(): Fd {
    const maker = this.#maker;
    this.#maker = undefined;
    if (maker === undefined) throw new Error("Cannot use the VM: it was closed, or never made");
    const fd = maker.take();
    this.#fd = fd;
    kvmCall(fd, "KVM_SET_IDENTITY_MAP_ADDR", littleEndian64(KVM_IDENTITY_MAP_ADDRESS));
    kvmCall(fd, "KVM_SET_TSS_ADDR", KVM_TSS_ADDRESS);
    if (this.hasIrqchip) {
      kvmCall(fd, "KVM_CREATE_IRQCHIP");
      kvmCall(fd, "KVM_CREATE_PIT2", kvm_pit_config.encode({ flags: KVM_PIT_SPEAKER_DUMMY }));
    }
    this.#ram.forEach((region, slot) => {
      this.#setSlot(slot, region);
    });
    for (const go of this.#waiting.splice(0)) go();
    return fd;
  }

  #whenMade(go: () => void): void {
    if (this.#fd === undefined) this.#waiting.push(go);
    else go();
  }

  #setSlot(slot: number, region: MappedRam): void {
    kvmCall(
      this.fd,
      "KVM_SET_USER_MEMORY_REGION",
      kvm_userspace_memory_region.encode({
        slot,
        guest_phys_addr: region.guestAddress,
        memory_size: region.sizeBytes,
        userspace_addr: region.address,
      }),
    );
  }
}

/** Reads and empties an eventfd; 0 when nothing came. */
export function drainEventFd(fd: Fd): number {
  const count = new Uint8Array(8);
  const result = syscall("read", fd, count, 8);
  return result === 8 ? Number(new DataView(count.buffer).getBigUint64(0, true)) : 0;
}

/** A write to its eventfd raises it, from any thread. */
export class IrqfdLine implements InterruptLine {
  readonly gsi: number;
  readonly fd: Fd;
  constructor(gsi: number, fd: Fd) {
    this.gsi = gsi;
    this.fd = fd;
  }
  trigger(): void {
    call("write", this.fd, ONE, 8);
  }
}

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

function eventFd(): Fd {
  return Fd.from("eventfd2", 0, EFD_CLOEXEC | EFD_NONBLOCK);
}

function bell(address: number, value: number, fd: Fd, flags: number): Uint8Array {
  return kvm_ioeventfd.encode({
    datamatch: value,
    addr: address,
    len: 4,
    fd: fd.number,
    flags: flags | KVM_IOEVENTFD_FLAG_DATAMATCH,
  });
}

/**
 * Address space only: pages come when the guest touches them, two megabytes at once where that can be.
 * KVM maps a huge page only where guest and host addresses lie alike within it.
 */
function mapRam(sizeBytes: number): number {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const reserved = sizeBytes + HUGE_PAGE;
  const start = call("mmap", 0, reserved, PROT_READ | PROT_WRITE, flags, -1, 0);
  const address = Math.ceil(start / HUGE_PAGE) * HUGE_PAGE;
  if (address > start) call("munmap", start, address - start);
  call("munmap", address + sizeBytes, start + reserved - (address + sizeBytes));
  // Refused by kernels without huge pages, which is no loss.
  syscall("madvise", address, sizeBytes, MADV_HUGEPAGE);
  return address;
}

/** Engines refuse (Bun) or crash on (Node) views of more than 4 GiB: several that overlap. */
function viewsOf(ram: MappedRam): readonly MemoryRegion[] {
  const views: MemoryRegion[] = [];
  for (let at = 0; at < ram.sizeBytes; at += VIEW_BYTES) {
    const sizeBytes = Math.min(VIEW_BYTES + VIEW_OVERLAP_BYTES, ram.sizeBytes - at);
    const bytes = viewMemory(ram.address + at, sizeBytes);
    views.push({ guestAddress: ram.guestAddress + at, sizeBytes, bytes });
  }
  return views;
}

function readSupportedCpuid(system: Fd): readonly CpuidEntry[] {
  const { sizeBytes } = kvm_cpuid_entry2;
  const list = new Uint8Array(8 + MAX_CPUID_ENTRIES * sizeBytes);
  const view = new DataView(list.buffer);
  view.setUint32(0, MAX_CPUID_ENTRIES, true);
  kvmCall(system, "KVM_GET_SUPPORTED_CPUID", list);
  const count = Math.min(view.getUint32(0, true), MAX_CPUID_ENTRIES);
  return Array.from({ length: count }, (_, i) => kvm_cpuid_entry2.decode(list, 8 + i * sizeBytes));
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  const { sizeBytes } = kvm_cpuid_entry2;
  const list = new Uint8Array(8 + entries.length * sizeBytes);
  new DataView(list.buffer).setUint32(0, entries.length, true);
  entries.forEach((entry, i) => {
    list.set(kvm_cpuid_entry2.encode({ ...entry, padding: new Uint8Array(12) }), 8 + i * sizeBytes);
  });
  return list;
}

function littleEndian64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}
