/**
 * Counts, without running anything, the instructions of a program that made x86 hard to
 * virtualise: the sensitive but unprivileged ones, and the privileged ones that trap by themselves.
 *
 * Executable sections are decoded in a straight line; a byte that begins no instruction is skipped
 * and counted. Data between functions may be taken for code, so the counts are close, not exact.
 * INT3 fills the gaps between functions and is left out.
 */
import { gunzipSync } from "node:zlib";
import type { CodeSize } from "./isa/code-size.ts";
import { Decoder, Instruction } from "./isa/decode.ts";
import { type SensitiveKind, sensitiveKind, sensitiveKinds } from "./system/sensitive.ts";

export class ProgramError extends Error {
  override readonly name = "ProgramError";
}

export type Classification = {
  readonly bits: 32 | 64;
  readonly codeBytes: number;
  readonly instructions: number;
  readonly undecodedBytes: number;
  readonly sensitive: Readonly<Record<SensitiveKind, number>>;
  /** By mnemonic: what traps outside CPL 0. */
  readonly privileged: Readonly<Record<string, number>>;
};

const privileged = new Set(
  "hlt lgdt lidt lldt ltr lmsw clts invlpg invd wbinvd rdmsr wrmsr movfromcr movtocr movfromdr movtodr sysret sysexit swapgs xsetbv in8 inv out8 outv ins8 insv outs8 outsv cli sti".split(
    " ",
  ),
);

/** ELF: Tool Interface Standard 1.2 and the x86-64 psABI. */
const elf = { magic: 0x7f45_4c46, class64: 2, executable: 4, noBits: 8 } as const;
const maxSections = 65_536;
const maxKernelBytes = 256 << 20;

type Section = { readonly offset: number; readonly size: number };

/** Of an ELF file, or of the kernel that a bzImage holds. Throws ProgramError. */
export function classifyProgram(file: Uint8Array): Classification {
  return classifyElf(isBzImage(file) ? unpackKernel(file) : file);
}

function isBzImage(file: Uint8Array): boolean {
  const magic = String.fromCharCode(...file.subarray(0x202, 0x206));
  return magic === "HdrS";
}

/** boot.rst, "The Real-Mode Kernel Header": payload_offset counts from the protected-mode code. */
function unpackKernel(file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const start = ((view.getUint8(0x1f1) || 4) + 1) * 512 + view.getUint32(0x248, true);
  const payload = file.subarray(start, start + view.getUint32(0x24c, true));
  if (payload[0] !== 0x1f || payload[1] !== 0x8b)
    throw new ProgramError(
      "Cannot unpack the kernel: expected one compressed with gzip; give its vmlinux instead",
    );
  try {
    return gunzipSync(payload, { maxOutputLength: maxKernelBytes });
  } catch (cause) {
    throw new ProgramError("Cannot unpack the kernel: its gzip data is broken", { cause });
  }
}

export function classifyElf(file: Uint8Array): Classification {
  const { bits, sections } = codeSections(file);
  const counts = new Map<string, number>();
  const decoder = new Decoder();
  const into = new Instruction();
  let instructions = 0;
  let undecodedBytes = 0;
  for (const { offset, size } of sections)
    for (let at = offset; at < offset + size; ) {
      const status = decoder.decode(into, file, at, offset + size, bits satisfies CodeSize);
      if (status !== "ok") {
        undecodedBytes++;
        at++;
        continue;
      }
      instructions++;
      counts.set(into.mnemonic, (counts.get(into.mnemonic) ?? 0) + 1);
      at += into.length;
    }
  return {
    bits,
    codeBytes: sections.reduce((sum, { size }) => sum + size, 0),
    instructions,
    undecodedBytes,
    ...tables(counts),
  };
}

function tables(counts: ReadonlyMap<string, number>) {
  const sensitive = Object.fromEntries(sensitiveKinds.map((kind) => [kind, 0]));
  const traps: Record<string, number> = {};
  for (const [mnemonic, count] of counts) {
    const kind = mnemonic === "int3" ? undefined : sensitiveKind(mnemonic);
    if (kind) sensitive[kind] = (sensitive[kind] ?? 0) + count;
    if (privileged.has(mnemonic)) traps[mnemonic] = count;
  }
  // SAFE: built from the very names of the type.
  return { sensitive: sensitive as Record<SensitiveKind, number>, privileged: traps };
}

function codeSections(file: Uint8Array): {
  readonly bits: 32 | 64;
  readonly sections: readonly Section[];
} {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 64 || view.getUint32(0) !== elf.magic)
    throw new ProgramError("Cannot classify the file: expected an ELF program or a bzImage");
  const is64 = view.getUint8(4) === elf.class64;
  const machine = view.getUint16(18, true);
  if (machine !== (is64 ? 62 : 3))
    throw new ProgramError(
      `Cannot classify code of ELF machine ${machine}: expected x86 (3 or 62)`,
    );
  const word = (at: number): number =>
    is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true);
  const table = word(is64 ? 40 : 32);
  const entryBytes = view.getUint16(is64 ? 58 : 46, true);
  const count = view.getUint16(is64 ? 60 : 48, true);
  if (count === 0 || count > maxSections || table + count * entryBytes > file.length)
    throw new ProgramError("Cannot classify the file: its section table is missing or cut off");
  const sections: Section[] = [];
  for (let i = 0; i < count; i++) {
    const at = table + i * entryBytes;
    const type = view.getUint32(at + 4, true);
    const flags = word(at + 8);
    if (type === elf.noBits || !(flags & elf.executable)) continue;
    const offset = word(at + (is64 ? 24 : 16));
    const size = word(at + (is64 ? 32 : 20));
    if (offset + size > file.length)
      throw new ProgramError(`Cannot classify the file: section ${i} ends beyond it`);
    sections.push({ offset, size });
  }
  return { bits: is64 ? 64 : 32, sections };
}
