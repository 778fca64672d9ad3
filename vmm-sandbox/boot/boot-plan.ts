/**
 * Plans a boot: which bytes go where in guest memory, and with which registers the first vCPU
 * starts. Pure; `writeBoot` acts.
 */
import type { GuestMemory } from "../machine/guest-memory.ts";
import { BOOT, COMMAND_LINE_LIMIT, HOLE_START, PAGE_SIZE } from "../machine/layout.ts";
import { type AcpiMachine, planAcpi } from "./acpi.ts";
import { ascii, littleEndian } from "./aml.ts";
import { type EntryRegisters, gdtEntries, linux64Entry, pvhEntry } from "./cpu-entry.ts";
import { type KernelImage, type LoadSegment, parseKernelImage } from "./kernel-image.ts";
import { type MemoryMapEntry, planMemoryMap } from "./memory-map.ts";
import { encodeStartInfo } from "./pvh.ts";
import { encodeZeroPage } from "./zero-page.ts";

export interface BootOptions {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  readonly memorySizeBytes: number;
  /** Without it the guest gets no ACPI tables. */
  readonly acpi?: AcpiMachine;
}

export interface BootPlan {
  readonly writes: readonly LoadSegment[];
  readonly registers: EntryRegisters;
  readonly protocol: "pvh" | "linux64";
  readonly memoryMap: readonly MemoryMapEntry[];
}

/** Memory, command line or initrd do not fit this kernel. */
export class BootError extends Error {
  override readonly name = "BootError";
  readonly hint?: string;
  constructor(message: string, hint?: string) {
    super(message);
    if (hint !== undefined) this.hint = hint;
  }
}

/** Room above the kernel without which no Linux reaches its init. */
const MIN_FREE_BYTES = 8 * 1024 * 1024;

export function planBoot(options: BootOptions): BootPlan {
  const image = parseKernelImage(options.kernel);
  const kernel = placeKernel(image);
  const lowEnd = Math.min(options.memorySizeBytes, HOLE_START);
  const initrd = placeInitrd(image, options.initrd, kernel.end, lowEnd);
  const commandLine = encodeCommandLine(image, options.commandLine);
  const acpi = options.acpi === undefined ? undefined : planAcpi(options.acpi, BOOT.acpiTables);
  if (acpi !== undefined && BOOT.acpiTables + acpi.tables.length > BOOT.highMemory) {
    throw new BootError("Cannot describe this machine: its ACPI tables need more than 124 KiB");
  }
  const memoryMap = planMemoryMap(options.memorySizeBytes);
  const shared = {
    memoryMap,
    commandLineSize: commandLine.length - 1,
    ...(initrd === undefined
      ? {}
      : { initrd: { address: initrd.address, sizeBytes: initrd.sizeBytes } }),
    ...(acpi === undefined ? {} : { rsdpAddress: BOOT.rsdp }),
  };
  const writes: LoadSegment[] = [
    ...kernel.segments,
    ...(initrd === undefined ? [] : [initrd]),
    at(BOOT.commandLine, commandLine),
    at(BOOT.gdt, encodeWords(gdtEntries)),
    ...(acpi === undefined ? [] : [at(BOOT.rsdp, acpi.rsdp), at(BOOT.acpiTables, acpi.tables)]),
  ];
  if (image.kind === "vmlinux" && image.pvhEntry !== undefined) {
    const { startInfo, moduleList, memoryMap: map } = encodeStartInfo(shared);
    writes.push(
      at(BOOT.startInfo, startInfo),
      at(BOOT.moduleList, moduleList),
      at(BOOT.memoryMap, map),
    );
    return { writes, registers: pvhEntry(image.pvhEntry), protocol: "pvh", memoryMap };
  }
  const header = image.kind === "bzimage" ? { setupHeader: image.setupHeader } : {};
  writes.push(
    at(BOOT.zeroPage, encodeZeroPage({ ...shared, ...header, loadAddress: kernel.start })),
  );
  writes.push(...identityPageTables());
  return { writes, registers: linux64Entry(kernel.entry), protocol: "linux64", memoryMap };
}

/** Puts everything where the plan says. */
export function writeBoot(memory: GuestMemory, plan: BootPlan): void {
  for (const { address, bytes, sizeBytes } of plan.writes) {
    memory.copyIn(address, bytes);
    if (sizeBytes > bytes.length) memory.fill(address + bytes.length, sizeBytes - bytes.length, 0);
  }
}

interface PlacedKernel {
  readonly segments: readonly LoadSegment[];
  readonly start: number;
  readonly end: number;
  readonly entry: number;
}

function placeKernel(image: KernelImage): PlacedKernel {
  if (image.kind === "bzimage") {
    const start = image.preferredAddress;
    return {
      segments: [at(start, image.payload)],
      start,
      end: start + image.initSizeBytes,
      entry: start + 0x200, // boot.rst: the 64-bit entry is 0x200 past the load address
    };
  }
  const start = Math.min(...image.segments.map(({ address }) => address));
  const end = Math.max(...image.segments.map(({ address, sizeBytes }) => address + sizeBytes));
  return { segments: image.segments, start, end, entry: image.entry };
}

/** At the top of low memory, as boot loaders do, so that the kernel below has room to grow. */
function placeInitrd(
  image: KernelImage,
  initrd: Uint8Array | undefined,
  kernelEnd: number,
  lowEnd: number,
): LoadSegment | undefined {
  const size = initrd?.length ?? 0;
  const limit = image.kind === "bzimage" ? Math.min(lowEnd, image.initrdLimit + 1) : lowEnd;
  const address = Math.floor((limit - size) / PAGE_SIZE) * PAGE_SIZE;
  const needed = kernelEnd + size + MIN_FREE_BYTES;
  if (lowEnd < needed || address < kernelEnd) {
    const mebibytes = Math.ceil(needed / 2 ** 20);
    throw new BootError(
      `Cannot boot with ${lowEnd / 2 ** 20} MiB of memory: expected at least ${mebibytes} MiB for this kernel and its initrd`,
      `Give the machine more memory, 128 MiB or more is usual (--memory ${Math.max(128, mebibytes)}m)`,
    );
  }
  return initrd === undefined || size === 0 ? undefined : at(address, initrd);
}

function encodeCommandLine(image: KernelImage, text: string): Uint8Array {
  if (!/^[\x20-\x7e]*$/.test(text)) {
    throw new BootError(
      "Cannot use this kernel command line: expected printable ASCII characters only",
    );
  }
  const kernelLimit = image.kind === "bzimage" ? image.commandLineLimit : COMMAND_LINE_LIMIT - 1;
  const limit = Math.min(kernelLimit, COMMAND_LINE_LIMIT - 1);
  if (text.length > limit) {
    throw new BootError(
      `Cannot use a kernel command line of ${text.length} characters: expected ${limit} at most`,
    );
  }
  return ascii(`${text}\0`);
}

/** The first GiB in 2 MiB pages, virtual = physical. */
function identityPageTables(): readonly LoadSegment[] {
  const PRESENT_WRITABLE = 3n;
  const LARGE = 1n << 7n;
  const directory = Array.from(
    { length: 512 },
    (_, i) => (BigInt(i) << 21n) | LARGE | PRESENT_WRITABLE,
  );
  return [
    at(BOOT.pml4, encodeWords([BigInt(BOOT.pdpt) | PRESENT_WRITABLE])),
    at(BOOT.pdpt, encodeWords([BigInt(BOOT.pageDirectory) | PRESENT_WRITABLE])),
    at(BOOT.pageDirectory, encodeWords(directory)),
  ];
}

function encodeWords(words: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 8);
  words.forEach((word, i) => {
    bytes.set(littleEndian(word, 8), i * 8);
  });
  return bytes;
}

function at(address: number, bytes: Uint8Array): LoadSegment {
  return { address, bytes, sizeBytes: bytes.length };
}
