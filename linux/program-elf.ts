/**
 * A syscall program as an executable of its own: a static ELF file that holds the interpreter and
 * one encoded program, a few kilobytes in all. Executed from a sealed memfd it replaces a
 * JavaScript process of 40 MB by one of some pages, and nothing of the program that made it, not
 * even its /proc/PID/exe, can be reached from inside a container (CVE-2019-5736).
 *
 * ```
 * 0x400000  r-x  ELF header, program headers, start code, interpreter
 * 0x402000  rw-  the block: header, rows, data, buffers (interpreter-layout.ts)
 * ```
 * Source: System V ABI, chapter 4 and 5 (ELF-64); AMD64 supplement §3.4.
 */
import { type EncodedProgram, encodeProgram } from "./encode.ts";
import { interpreterX86_64 } from "./generated/interpreter-x86-64.ts";
import type { Program } from "./program.ts";

export interface ProgramElf {
  readonly bytes: Uint8Array;
  readonly encoded: EncodedProgram;
}

/** Where the program sees its block; rows may name it to write out a report. */
export const elfBlockAddress = 0x40_2000;

const textAddress = 0x40_0000;
const pageSize = 0x1000;
const elfHeaderSize = 64;
const programHeaderSize = 56;
const startOffset = 256;
const codeOffset = 320;
const readExecute = 5;
const readWrite = 6;

export function encodeProgramElf(program: Program): ProgramElf {
  const encoded = encodeProgram(program);
  const bytes = new Uint8Array(pageSize + encoded.sizeBytes);
  const view = new DataView(bytes.buffer);
  const code = Buffer.from(interpreterX86_64.hex, "hex");
  const codeEnd = codeOffset + code.length;
  if (codeEnd > pageSize) throw new RangeError("The interpreter has outgrown its page");
  writeElfHeader(view);
  writeSegment(view, 0, { type: 1, flags: readExecute, offset: 0, at: textAddress, size: codeEnd });
  const size = encoded.sizeBytes;
  writeSegment(view, 1, { type: 1, flags: readWrite, offset: pageSize, at: elfBlockAddress, size });
  // PT_GNU_STACK: without it the kernel makes everything readable executable as well.
  writeSegment(view, 2, { type: 0x6474e551, flags: readWrite, offset: 0, at: 0, size: 0 });
  writeStart(view);
  bytes.set(code, codeOffset);
  encoded.write(bytes.subarray(pageSize), elfBlockAddress);
  return { bytes, encoded };
}

function writeElfHeader(view: DataView): void {
  view.setUint32(0, 0x7f454c46); // magic
  view.setUint32(4, 0x02010100); // 64 bits, little endian, version 1, System V
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setUint32(24, textAddress + startOffset, true); // entry
  view.setUint32(32, elfHeaderSize, true); // program headers follow
  view.setUint16(52, elfHeaderSize, true);
  view.setUint16(54, programHeaderSize, true);
  view.setUint16(56, 3, true);
}

function writeSegment(
  view: DataView,
  index: number,
  segment: { type: number; flags: number; offset: number; at: number; size: number },
): void {
  const start = elfHeaderSize + index * programHeaderSize;
  view.setUint32(start, segment.type, true);
  view.setUint32(start + 4, segment.flags, true);
  view.setUint32(start + 8, segment.offset, true);
  view.setUint32(start + 16, segment.at, true);
  view.setUint32(start + 24, segment.at, true);
  view.setUint32(start + 32, segment.size, true);
  view.setUint32(start + 40, segment.size, true);
  view.setUint32(start + 48, pageSize, true);
}

/** mov edi, block; call interpret; mov edi, eax; mov eax, exit_group; syscall. */
function writeStart(view: DataView): void {
  const call = startOffset + 5;
  view.setUint8(startOffset, 0xbf);
  view.setUint32(startOffset + 1, elfBlockAddress, true);
  view.setUint8(call, 0xe8);
  view.setInt32(call + 1, codeOffset + interpreterX86_64.interpret - (call + 5), true);
  const exit = [0x89, 0xc7, 0xb8, 231, 0, 0, 0, 0x0f, 0x05];
  for (const [index, byte] of exit.entries()) view.setUint8(call + 5 + index, byte);
}
