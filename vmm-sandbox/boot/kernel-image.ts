/**
 * Recognises a kernel file and reads what booting it needs.
 *
 * Two kinds boot: a bzImage (entered at its 64-bit entry, Documentation/arch/x86/boot.rst) and an
 * ELF vmlinux (entered through its PVH note, or at its ELF entry by the same 64-bit protocol).
 * The file is untrusted: every offset is checked against its length and every loop has a limit.
 */
export interface LoadSegment {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Bytes in memory; what the file does not fill is zero. */
  readonly sizeBytes: number;
}

export type KernelImage =
  | {
      readonly kind: "bzimage";
      /** The protected-mode part. */
      readonly payload: Uint8Array;
      /** Bytes from 0x1f1 to the end of the setup header, as the file has them. */
      readonly setupHeader: Uint8Array;
      readonly preferredAddress: number;
      /** Memory the kernel needs from its load address on, decompression included. */
      readonly initSizeBytes: number;
      readonly initrdLimit: number;
      readonly commandLineLimit: number;
    }
  | {
      readonly kind: "vmlinux";
      readonly segments: readonly LoadSegment[];
      /** Physical address of the 32-bit PVH entry. */
      readonly pvhEntry?: number;
      /** Physical address of startup_64. */
      readonly entry: number;
    };

/** The file is no kernel that we can boot. */
export class KernelImageError extends Error {
  override readonly name = "KernelImageError";
  readonly hint?: string;
  constructor(why: string, hint?: string) {
    super(`Cannot boot this kernel file: ${why}`);
    if (hint !== undefined) this.hint = hint;
  }
}

/** Limits of what is read from a file; Debian's vmlinux has 5 program headers and 1 KiB of notes. */
const MAX_PROGRAM_HEADERS = 128;
const MAX_NOTE_BYTES = 64 * 1024;
const MAX_LOAD_ADDRESS = 0x4000_0000;

const EXPECTED = "expected an x86-64 Linux bzImage or an ELF vmlinux";

export function parseKernelImage(file: Uint8Array): KernelImage {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length >= 64 && view.getUint32(0, false) === 0x7f45_4c46)
    return parseVmlinux(file, view);
  if (file.length >= 0x280 && view.getUint32(0x202, true) === HDRS) return parseBzImage(file, view);
  throw new KernelImageError(describeForeign(file, view));
}

const HDRS = 0x5372_6448; // "HdrS"

/** The setup header. boot.rst, "The Real-Mode Kernel Header". */
function parseBzImage(file: Uint8Array, view: DataView): KernelImage {
  const version = view.getUint16(0x206, true);
  if (version < 0x020c) {
    throw new KernelImageError(
      `it speaks boot protocol ${version >> 8}.${version & 0xff}, expected 2.12 or later`,
      "Use a kernel of version 3.8 or later",
    );
  }
  const XLF_KERNEL_64 = 1;
  if ((view.getUint16(0x236, true) & XLF_KERNEL_64) === 0) {
    throw new KernelImageError("it has no 64-bit entry point, expected a kernel built for x86-64");
  }
  const setupSectors = view.getUint8(0x1f1) || 4;
  const payloadOffset = (setupSectors + 1) * 512;
  const payloadSize = view.getUint32(0x1f4, true) * 16;
  if (payloadOffset + 0x200 >= file.length) {
    throw new KernelImageError(
      `it ends after ${file.length} bytes, expected more than ${payloadOffset + 0x200}`,
    );
  }
  // syssize counts 16-byte units, rounded up; the file may carry a signature behind it.
  if (payloadOffset + payloadSize > file.length + 15) {
    throw new KernelImageError(
      `it is cut off: ${file.length} bytes, expected ${payloadOffset + payloadSize}`,
      "Fetch or copy the kernel again",
    );
  }
  const preferredAddress = Number(view.getBigUint64(0x258, true));
  const initSizeBytes = view.getUint32(0x260, true);
  if (preferredAddress < 0x10_0000 || preferredAddress >= MAX_LOAD_ADDRESS) {
    throw new KernelImageError(
      `it wants to be loaded at 0x${preferredAddress.toString(16)}, expected 1 MiB to 1 GiB`,
    );
  }
  const headerEnd = Math.min(0x202 + view.getUint8(0x201), 0x290);
  return {
    kind: "bzimage",
    payload: file.subarray(payloadOffset, Math.min(file.length, payloadOffset + payloadSize)),
    setupHeader: file.subarray(0x1f1, headerEnd),
    preferredAddress,
    initSizeBytes: Math.max(initSizeBytes, payloadSize),
    initrdLimit: view.getUint32(0x22c, true),
    commandLineLimit: view.getUint32(0x238, true),
  };
}

/** ELF-64: System V ABI, chapter 4 (header) and 5 (program headers). */
function parseVmlinux(file: Uint8Array, view: DataView): KernelImage {
  const [ELFCLASS64, ELFDATA2LSB, EM_X86_64] = [2, 1, 62];
  if (view.getUint8(4) !== ELFCLASS64 || view.getUint8(5) !== ELFDATA2LSB) {
    throw new KernelImageError(`it is an ELF file of another word size or byte order, ${EXPECTED}`);
  }
  const machine = view.getUint16(18, true);
  if (machine !== EM_X86_64) {
    throw new KernelImageError(`it is an ELF file for machine ${machine}, expected 62 (x86-64)`);
  }
  const type = view.getUint16(16, true);
  if (type !== 2)
    throw new KernelImageError(`it is an ELF file of type ${type}, expected 2 (executable)`);
  const headers = programHeaders(file, view);
  const segments = headers
    .filter(({ type }) => type === PT_LOAD)
    .map((header) => loadSegment(file, header));
  if (segments.length === 0)
    throw new KernelImageError(`it is an ELF file without anything to load, ${EXPECTED}`);
  const entry = safeNumber(view.getBigUint64(24, true));
  const notes = headers.filter(({ type }) => type === PT_NOTE);
  const pvhEntry = notes
    .map((header) => findPvhEntry(file, header))
    .find((found) => found !== undefined);
  const target = pvhEntry ?? entry;
  if (
    !segments.some(({ address, sizeBytes }) => target >= address && target < address + sizeBytes)
  ) {
    throw new KernelImageError(
      `its entry point 0x${target.toString(16)} is in none of its segments`,
      "Is it a user program? A vmlinux enters at a physical address",
    );
  }
  return { kind: "vmlinux", segments, entry, ...(pvhEntry === undefined ? {} : { pvhEntry }) };
}

interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly physicalAddress: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

const PT_LOAD = 1;
const PT_NOTE = 4;

function programHeaders(file: Uint8Array, view: DataView): readonly ProgramHeader[] {
  const start = safeNumber(view.getBigUint64(32, true));
  const entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (
    entrySize !== 56 ||
    count === 0 ||
    count > MAX_PROGRAM_HEADERS ||
    start + count * 56 > file.length
  ) {
    throw new KernelImageError(
      `it has ${count} program headers of ${entrySize} bytes at ${start}, expected 1 to ${MAX_PROGRAM_HEADERS} of 56 inside the file`,
    );
  }
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * 56;
    return {
      type: view.getUint32(at, true),
      offset: safeNumber(view.getBigUint64(at + 8, true)),
      physicalAddress: safeNumber(view.getBigUint64(at + 24, true)),
      fileSize: safeNumber(view.getBigUint64(at + 32, true)),
      memorySize: safeNumber(view.getBigUint64(at + 40, true)),
    };
  });
}

function loadSegment(file: Uint8Array, header: ProgramHeader): LoadSegment {
  const { offset, physicalAddress, fileSize, memorySize } = header;
  if (offset + fileSize > file.length) {
    throw new KernelImageError(
      `it is cut off: ${file.length} bytes, expected ${offset + fileSize}`,
      "Fetch or copy the kernel again",
    );
  }
  const end = physicalAddress + memorySize;
  if (memorySize < fileSize || physicalAddress < 0x10_0000 || end > MAX_LOAD_ADDRESS) {
    throw new KernelImageError(
      `a segment goes to 0x${physicalAddress.toString(16)}–0x${end.toString(16)}, expected between 1 MiB and 1 GiB`,
    );
  }
  return {
    address: physicalAddress,
    bytes: file.subarray(offset, offset + fileSize),
    sizeBytes: memorySize,
  };
}

/** xen/include/public/elfnote.h: note 18 of "Xen" holds the 32-bit entry's physical address. */
function findPvhEntry(file: Uint8Array, header: ProgramHeader): number | undefined {
  const XEN_ELFNOTE_PHYS32_ENTRY = 18;
  const end = header.offset + header.fileSize;
  if (end > file.length || header.fileSize > MAX_NOTE_BYTES) return undefined;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  // Each turn moves on by at least the 12 bytes of a note's head.
  for (let at = header.offset; at + 12 <= end; ) {
    const nameSize = view.getUint32(at, true);
    const valueSize = view.getUint32(at + 4, true);
    const value = at + 12 + align4(nameSize);
    const next = value + align4(valueSize);
    if (next > end) return undefined;
    const isXen = nameSize === 4 && view.getUint32(at + 12, false) === 0x5865_6e00;
    if (isXen && view.getUint32(at + 8, true) === XEN_ELFNOTE_PHYS32_ENTRY && valueSize >= 4) {
      return view.getUint32(value, true);
    }
    at = next;
  }
  return undefined;
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

/** Addresses above 2^53 are nonsense here; a number past every limit keeps the checks simple. */
function safeNumber(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function describeForeign(file: Uint8Array, view: DataView): string {
  if (file.length < 0x280) return `it has only ${file.length} bytes, ${EXPECTED}`;
  const magic = view.getUint32(0, false);
  if (view.getUint32(0x38, true) === 0x644d_5241) return `it is an arm64 kernel, ${EXPECTED}`;
  if (view.getUint32(0x38, true) === 0x0543_5352) return `it is a RISC-V kernel, ${EXPECTED}`;
  if (magic >>> 16 === 0x1f8b) return `it is compressed with gzip, ${EXPECTED}`;
  if (magic === 0x28b5_2ffd) return `it is compressed with zstd, ${EXPECTED}`;
  if (magic === 0xfd37_7a58) return `it is compressed with xz, ${EXPECTED}`;
  if (magic === 0x213c_6172) return `it is a Debian package or an ar archive, ${EXPECTED}`;
  if (magic >>> 16 === 0x4d5a) return `it is an EFI program and no Linux kernel, ${EXPECTED}`;
  return `nothing in it looks like a kernel, ${EXPECTED}`;
}
