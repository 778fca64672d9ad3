/**
 * Lays a syscall program out in memory; interpreter-layout.ts draws the layout.
 *
 * Starting a container waits for this, in code that no compiler has warmed up, so it makes one
 * pass for places and one for bytes, writes 32-bit words, and allocates next to nothing for a row.
 */
import { errnos } from "./errno.ts";
import {
  blockMagic,
  comparisons,
  header,
  kind,
  row as layout,
  operation,
  operationBit,
  operations,
} from "./interpreter-layout.ts";
import type { Argument, CallRow, Program, Row } from "./program.ts";
import { syscallsX86_64 } from "./syscalls.ts";
import { encodeUtf8 } from "./utf8.ts";

/** A program whose places are decided but which is not written anywhere yet. */
export interface EncodedProgram {
  readonly sizeBytes: number;
  /** Bytes that are not just zeroed buffers, which lie at the end. */
  readonly storedBytes: number;
  /** Offset in the block of each named buffer. */
  readonly buffers: ReadonlyMap<string, { readonly offset: number; readonly sizeBytes: number }>;
  /** Offset of the row that carries this `as`. */
  readonly results: ReadonlyMap<string, number>;
  /** Index in `rows` of the row at this offset; undefined for any other offset. */
  rowIndex(offset: number): number | undefined;
  /** Writes the block; `address` is where the interpreter will see it. */
  write(target: Uint8Array, address: number): void;
}

const alignment = 16;
const alwaysJump = 7;
const argumentCount = 6;
const noRow: readonly Argument[] = [];

/** Decides every offset; throws RangeError for a label or a name that does not exist. */
export function encodeProgram(program: Program): EncodedProgram {
  return new Encoder(program);
}

class Encoder implements EncodedProgram {
  readonly buffers = new Map<string, { offset: number; sizeBytes: number }>();
  readonly results = new Map<string, number>();
  readonly storedBytes: number;
  readonly #rows: readonly Row[];
  readonly #onError: string | undefined;
  readonly #labels = new Map<string, number>();
  /** Strings by content, structs by identity. */
  readonly #data = new Map<string | object, number>();
  readonly #pieces: object[] = [];
  /** Of each piece. */
  readonly #offsets: number[] = [];
  #end: number;
  // While writing:
  #words = new Int32Array(0);
  #bytes = new Uint8Array(0);
  #address = 0;
  /** What #resolve found beside the kind it returns. */
  #low = 0;
  #high = 0;

  constructor(program: Program) {
    this.#rows = program.rows;
    this.#onError = program.onError;
    this.#end = this.#placeRows();
    this.buffers.set("header", { offset: 0, sizeBytes: header.size });
    for (const row of this.#rows) for (const arg of argumentsOf(row)) this.#placeData(arg);
    this.storedBytes = this.#end;
    const buffers = program.buffers ?? {};
    for (const name of Object.keys(buffers)) {
      const sizeBytes = buffers[name] ?? 0;
      this.buffers.set(name, { offset: this.#reserve(sizeBytes), sizeBytes });
    }
  }

  get sizeBytes(): number {
    return this.#end;
  }

  rowIndex(offset: number): number | undefined {
    let at: number = header.size;
    for (const [index, row] of this.#rows.entries()) {
      if ("label" in row) continue;
      if (at === offset) return index;
      at += layout.size;
    }
    return undefined;
  }

  write(target: Uint8Array, address: number): void {
    // Words are written into memory of our own: the target may not be aligned.
    const buffer = new ArrayBuffer(Math.ceil(this.#end / 8) * 8);
    const words = new Int32Array(buffer);
    this.#words = words;
    this.#bytes = new Uint8Array(buffer);
    this.#address = address;
    words[0] = Number(blockMagic & 0xffff_ffffn);
    words[1] = Number(blockMagic >> 32n);
    words[header.firstRow / 4] = header.size;
    words[header.blockSize / 4] = this.#end;
    let offset: number = header.size;
    for (const row of this.#rows) {
      if ("label" in row) continue;
      this.#writeRow(offset / 4, row);
      offset += layout.size;
    }
    words[offset / 4] = operationBit | operation.end; // falling off the end returns 0
    this.#pieces.forEach((piece, index) => {
      this.#writePiece(piece, this.#offsets[index] ?? 0);
    });
    target.set(this.#bytes.subarray(0, this.#end));
  }

  #placeRows(): number {
    let offset: number = header.size;
    for (const row of this.#rows) {
      if ("label" in row) {
        if (this.#labels.has(row.label)) throw new RangeError(`Label "${row.label}" occurs twice`);
        this.#labels.set(row.label, offset);
        continue;
      }
      if ("as" in row && row.as !== undefined) {
        if (this.results.has(row.as)) throw new RangeError(`Result "${row.as}" occurs twice`);
        this.results.set(row.as, offset);
      }
      offset += layout.size;
    }
    return offset + layout.size;
  }

  #reserve(sizeBytes: number): number {
    const offset = Math.ceil(this.#end / alignment) * alignment;
    this.#end = offset + sizeBytes;
    return offset;
  }

  #placeData(arg: Argument): void {
    if (typeof arg === "number" || typeof arg === "bigint") return;
    if (typeof arg === "string") {
      this.#placeText(arg);
      return;
    }
    const sizeBytes = dataSize(arg);
    if (sizeBytes < 0 || this.#data.has(arg)) return;
    const offset = this.#reserve(sizeBytes);
    this.#data.set(arg, offset);
    this.#pieces.push(arg);
    this.#offsets.push(offset);
    if ("strings" in arg) for (const text of arg.strings) this.#placeData(text);
    if ("pointers" in arg) for (const inner of Object.values(arg.pointers)) this.#placeData(inner);
  }

  /** Strings need no alignment, and there are many; a NUL follows each. */
  #placeText(text: string): void {
    if (this.#data.has(text)) return;
    if (text.includes("\0"))
      throw new TypeError(`Cannot pass ${JSON.stringify(text)} to the kernel: it contains a NUL`);
    const bytes = encodeUtf8(text);
    this.#data.set(text, this.#end);
    this.#pieces.push(bytes);
    this.#offsets.push(this.#end);
    this.#end += bytes.length + 1;
  }

  #writePiece(piece: object, offset: number): void {
    const bytes = this.#bytes;
    if (piece instanceof Uint8Array) bytes.set(piece, offset);
    else if ("strings" in piece) {
      const { strings } = piece as { readonly strings: readonly string[] }; // SAFE: an Argument
      strings.forEach((text, index) => {
        this.#writePointer(offset + 8 * index, this.#address + this.#dataOffset(text));
      });
    } else if ("struct" in piece) {
      const { struct, pointers } = piece as Extract<Argument, { struct: Uint8Array }>; // SAFE: same
      bytes.set(struct, offset);
      for (const [at, inner] of Object.entries(pointers)) {
        const how = this.#resolve(inner);
        if (how !== kind.data && how !== kind.immediate)
          throw new RangeError("A pointer in a struct must be known before the program runs");
        if (how === kind.data) this.#writePointer(offset + Number(at), this.#address + this.#low);
        else this.#writeWords((offset + Number(at)) / 4, this.#low, this.#high);
      }
    }
  }

  #writePointer(offset: number, address: number): void {
    this.#writeWords(offset / 4, address | 0, Math.floor(address / 2 ** 32));
  }

  #writeWords(at: number, low: number, high: number): void {
    this.#words[at] = low;
    this.#words[at + 1] = high;
  }

  #writeArgument(at: number, index: number, arg: Argument): void {
    const how = this.#resolve(arg);
    this.#writeWords(at + layout.args / 4 + 2 * index, this.#low, this.#high);
    if (how !== 0)
      this.#words[at + layout.kinds / 4] =
        (this.#words[at + layout.kinds / 4] ?? 0) | (how << (4 * index));
  }

  /**
   * Parent and child run the same rows, often in memory that they share: which of the two goes on
   * must not be decided by what either reads there. (Which child has ended, may be: that compares two
   * results.)
   */
  #writeCompared(at: number, index: number, arg: Argument, other: Argument): void {
    if (typeof arg === "object" && "result" in arg && typeof other === "number") {
      const row = this.results.get(arg.result) ?? 0;
      if (this.#words[row / 4] === syscallsX86_64.clone)
        throw new RangeError(
          `Cannot compare the result "${arg.result}" of clone: expected { last: true }, which each process has for itself`,
        );
    }
    this.#writeArgument(at, index, arg);
  }

  #writeRow(at: number, row: Exclude<Row, { label: string }>): void {
    const words = this.#words;
    if ("call" in row) {
      this.#writeCall(at, row);
      return;
    }
    if ("jump" in row) {
      words[at] = operationBit | operation.jump;
      words[at + layout.target / 4] = this.#labelOffset(row.jump);
      if (row.if === undefined) this.#writeWords(at + layout.args / 4 + 4, alwaysJump, 0);
      else {
        this.#writeCompared(at, 0, row.if[0], row.if[2]);
        this.#writeCompared(at, 1, row.if[2], row.if[0]);
        this.#writeWords(at + layout.args / 4 + 4, comparisons.indexOf(row.if[1]), 0);
      }
    } else if ("store" in row) {
      words[at] = operationBit | operation.store;
      this.#writeArgument(at, 0, row.store);
      this.#writeArgument(at, 1, row.value);
      this.#writeArgument(at, 2, row.width);
    } else if ("read" in row) {
      words[at] = operationBit | operation.load;
      this.#writeArgument(at, 0, row.read);
      this.#writeArgument(at, 1, row.width);
    } else if ("compute" in row) {
      words[at] = operationBit | operation.compute;
      this.#writeArgument(at, 0, row.compute[0]);
      this.#writeArgument(at, 1, row.compute[2]);
      this.#writeArgument(at, 2, operations.indexOf(row.compute[1]));
    } else if ("copy" in row) {
      words[at] = operationBit | operation.copy;
      this.#writeArgument(at, 0, row.to);
      this.#writeArgument(at, 1, row.copy);
      this.#writeArgument(at, 2, row.length);
    } else if ("run" in row) {
      words[at] = operationBit | operation.run;
      this.#writeArgument(at, 0, row.run);
    } else if ("resume" in row) {
      words[at] = operationBit | operation.resume;
      this.#writeArgument(at, 0, row.resume);
    } else {
      words[at] = operationBit | operation.end;
      this.#writeArgument(at, 0, row.end);
    }
  }

  #writeCall(at: number, row: CallRow): void {
    const { call, args, ignore } = row;
    if (args.length > argumentCount)
      throw new RangeError(`"${call}" is given ${args.length} arguments, at most 6 exist`);
    this.#words[at] = syscallsX86_64[call];
    for (let index = 0; index < args.length; index += 1) {
      const arg = args[index] ?? 0;
      if (typeof arg !== "number" || arg !== (arg | 0)) this.#writeArgument(at, index, arg);
      else if (arg !== 0) {
        // Most arguments are small numbers, and most of those are 0, as the memory is.
        const place = at + layout.args / 4 + 2 * index;
        this.#words[place] = arg;
        this.#words[place + 1] = arg >> 31;
      }
    }
    if (ignore !== undefined) {
      if (ignore.length > layout.ignoreCount)
        throw new RangeError(`"${call}" can ignore at most ${layout.ignoreCount} errnos`);
      for (let index = 0; index < ignore.length; index += 1)
        this.#bytes[at * 4 + layout.ignore + index] = errnos[ignore[index] ?? "EPERM"][0];
    }
    const handler = row.onError ?? this.#onError;
    if (handler !== undefined) this.#words[at + layout.onError / 4] = this.#labelOffset(handler);
  }

  /** Returns the kind of an argument and leaves the number in #low and #high. */
  #resolve(arg: Argument): number {
    if (typeof arg === "number") {
      this.#low = arg | 0;
      // Negative numbers and those above 31 bits have something in the upper half.
      this.#high = arg === this.#low ? this.#low >> 31 : Math.floor(arg / 2 ** 32);
      return kind.immediate;
    }
    if (typeof arg === "bigint") {
      this.#low = Number(BigInt.asIntN(32, arg));
      this.#high = Number(BigInt.asIntN(32, arg >> 32n));
      return kind.immediate;
    }
    this.#high = 0;
    if (typeof arg === "string" || arg instanceof Uint8Array)
      return this.#found(kind.data, this.#dataOffset(arg));
    if ("result" in arg) {
      const row = this.results.get(arg.result);
      if (row === undefined) throw new RangeError(`No row has the result "${arg.result}"`);
      return this.#found(kind.load64, row + layout.result);
    }
    if ("last" in arg) return this.#found(kind.last, 0);
    if ("buffer" in arg) return this.#found(kind.data, this.#bufferOffset(arg.buffer, arg.offset));
    if ("load" in arg) {
      const how = arg.width === 8 ? kind.load64 : kind.load32;
      return this.#found(how, this.#bufferOffset(arg.load, arg.offset));
    }
    return this.#found(kind.data, this.#dataOffset(arg));
  }

  #found(how: number, low: number): number {
    this.#low = low;
    return how;
  }

  #dataOffset(arg: string | object): number {
    const offset = this.#data.get(arg);
    if (offset === undefined) throw new RangeError("An argument of the program was not placed");
    return offset;
  }

  #bufferOffset(name: string, offset = 0): number {
    const buffer = this.buffers.get(name);
    if (buffer === undefined) throw new RangeError(`The program has no buffer "${name}"`);
    if (offset < 0 || offset > buffer.sizeBytes)
      throw new RangeError(
        `Offset ${offset} is outside buffer "${name}" (${buffer.sizeBytes} bytes)`,
      );
    return buffer.offset + offset;
  }

  #labelOffset(label: string): number {
    const offset = this.#labels.get(label);
    if (offset === undefined) throw new RangeError(`The program has no label "${label}"`);
    return offset;
  }
}

/** Every argument of a row that may need data. */
function argumentsOf(row: Row): readonly Argument[] {
  if ("call" in row) return row.args;
  if ("label" in row) return noRow;
  if ("jump" in row) return row.if === undefined ? noRow : [row.if[0], row.if[2]];
  if ("store" in row) return [row.value];
  if ("read" in row) return [row.read];
  if ("compute" in row) return [row.compute[0], row.compute[2]];
  if ("copy" in row) return [row.copy, row.to, row.length];
  if ("run" in row) return [row.run];
  if ("resume" in row) return [row.resume];
  return [row.end];
}

/** Bytes that an argument needs in the data area; -1 when it needs none. */
function dataSize(arg: Exclude<Argument, number | bigint | string>): number {
  if (arg instanceof Uint8Array) return arg.length;
  if ("strings" in arg) return 8 * (arg.strings.length + 1);
  if ("struct" in arg) return arg.struct.length;
  return -1;
}
