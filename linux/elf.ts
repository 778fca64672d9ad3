/**
 * A syscall program as a static executable of a few kilobytes: the interpreter and the rows.
 * Layout: System V ABI, "ELF-64 Object File Format", version 1.5.
 *
 * ```
 * +0     ELF header (64), two program headers (56 each)
 * +176   machine code, mapped with the headers: read, execute
 * +page  the block (interpreter-layout.ts): read, write; zeros at its end are not stored
 * ```
 */
import { type EncodedProgram, encodeProgram } from "./encode.ts";
import { interpreterX86_64 } from "./generated/interpreter-x86-64.ts";
import { header } from "./interpreter-layout.ts";
import { machineCode } from "./machine-code.ts";
import type { Program } from "./program.ts";

const PAGE_BYTES = 4096;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const CODE_OFFSET = HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
export interface Place {
  readonly code: number;
  readonly block: number;
}

/** Where static executables of x86-64 usually begin. */
const usualPlace: Place = { code: 0x40_0000, block: 0x1000_0000 };
export const BLOCK_ADDRESS = usualPlace.block;

/** In the buffer "header": the stack that the executable was started with, at argc. */
export const startStack = { load: "header", offset: header.stack, width: 8 } as const;

const ET_EXEC = 2;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const segmentFlags = { execute: 1, write: 2, read: 4 } as const;

/**
 * The executable's bytes. It exits with the value that the program ends with. Whoever reads its
 * reports keeps the encoded program and passes it in.
 */
export function encodeElf(
  program: Program,
  encoded: EncodedProgram = encodeProgram(program),
  place = usualPlace,
): Uint8Array {
  const block = new Uint8Array(encoded.sizeBytes);
  encoded.write(block, place.block);
  return encodeExecutable({
    place,
    code: interpreterCode(place.block),
    entry: interpreterX86_64.start,
    data: block.subarray(0, encoded.storedBytes),
    dataBytes: encoded.sizeBytes,
  });
}

export interface Executable {
  readonly place?: Place;
  /** Position-independent machine code. */
  readonly code: Uint8Array;
  /** Where it starts, in bytes from the start of the code. */
  readonly entry: number;
  /** What lies at the block's place at first; zeros follow up to `dataBytes`. */
  readonly data: Uint8Array;
  readonly dataBytes: number;
}

/** A static executable of two segments. */
export function encodeExecutable(executable: Executable): Uint8Array {
  const { code, entry, data, dataBytes, place = usualPlace } = executable;
  const dataOffset = Math.ceil((CODE_OFFSET + code.length) / PAGE_BYTES) * PAGE_BYTES;
  const file = new Uint8Array(dataOffset + data.length);
  const view = new DataView(file.buffer);
  writeHeader(view, place.code + CODE_OFFSET + entry);
  writeSegment(view, 0, {
    flags: segmentFlags.read | segmentFlags.execute,
    offset: 0,
    address: place.code,
    fileBytes: CODE_OFFSET + code.length,
    memoryBytes: CODE_OFFSET + code.length,
  });
  writeSegment(view, 1, {
    flags: segmentFlags.read | segmentFlags.write,
    offset: dataOffset,
    address: place.block,
    fileBytes: data.length,
    memoryBytes: dataBytes,
  });
  file.set(code, CODE_OFFSET);
  file.set(data, dataOffset);
  return file;
}

function interpreterCode(block: number): Uint8Array {
  const code = machineCode();
  new DataView(code.buffer).setBigUint64(interpreterX86_64.block, BigInt(block), true);
  return code;
}

function writeHeader(view: DataView, entry: number): void {
  const identification = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]; // 64 bits, little endian, version 1
  identification.forEach((byte, index) => {
    view.setUint8(index, byte);
  });
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(entry), true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true); // program headers follow
  view.setUint16(52, HEADER_BYTES, true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, 2, true);
}

interface Segment {
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

function writeSegment(view: DataView, index: number, segment: Segment): void {
  const at = HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
  view.setUint32(at, PT_LOAD, true);
  view.setUint32(at + 4, segment.flags, true);
  view.setBigUint64(at + 8, BigInt(segment.offset), true);
  view.setBigUint64(at + 16, BigInt(segment.address), true);
  view.setBigUint64(at + 24, BigInt(segment.address), true);
  view.setBigUint64(at + 32, BigInt(segment.fileBytes), true);
  view.setBigUint64(at + 40, BigInt(segment.memoryBytes), true);
  view.setBigUint64(at + 48, BigInt(PAGE_BYTES), true);
}
