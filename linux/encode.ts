/** Lays a syscall program out in memory; interpreter-layout.ts draws the layout. */
import { errnoNumber } from "./errors.ts";
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

/** A program whose places are decided but which is not written anywhere yet. */
export interface EncodedProgram {
  readonly sizeBytes: number;
  /** Offset in the block of each named buffer. */
  readonly buffers: ReadonlyMap<string, { readonly offset: number; readonly sizeBytes: number }>;
  /** Offset of the row that carries this `as`. */
  readonly results: ReadonlyMap<string, number>;
  /** Index in `rows` of the row at each offset. */
  readonly rowIndexes: ReadonlyMap<number, number>;
  /** Writes the block; `address` is where the interpreter will see it. */
  write(target: Uint8Array, address: number): void;
}

const alignment = 16;
const alwaysJump = 7;
const argumentCount = 6;

/** Decides every offset; throws RangeError for a label or a name that does not exist. */
export function encodeProgram(program: Program): EncodedProgram {
  return new Encoder(program);
}

class Encoder implements EncodedProgram {
  readonly buffers = new Map<string, { offset: number; sizeBytes: number }>();
  readonly results = new Map<string, number>();
  readonly rowIndexes = new Map<number, number>();
  readonly #program: Program;
  readonly #labels = new Map<string, number>();
  /** Strings and structs, in the order in which `write` meets them. */
  readonly #data = new Map<string | Uint8Array | object, number>();
  readonly #pieces: { readonly offset: number; readonly value: Argument }[] = [];
  #end: number;

  constructor(program: Program) {
    this.#program = program;
    this.#end = this.#placeRows();
    this.buffers.set("header", { offset: 0, sizeBytes: header.size });
    for (const [name, sizeBytes] of Object.entries(program.buffers ?? {}))
      this.buffers.set(name, { offset: this.#reserve(sizeBytes), sizeBytes });
    for (const row of program.rows) for (const arg of argumentsOf(row)) this.#placeData(arg);
  }

  get sizeBytes(): number {
    return this.#end;
  }

  write(target: Uint8Array, address: number): void {
    const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
    view.setBigUint64(0, blockMagic, true);
    view.setUint32(header.firstRow, header.size, true);
    view.setUint32(header.blockSize, this.#end, true);
    let offset = header.size;
    for (const row of this.#program.rows) {
      if ("label" in row) continue;
      this.#writeRow(view, offset, row);
      offset += layout.size;
    }
    view.setUint32(offset, operationBit | operation.end, true); // falling off the end returns 0
    for (const piece of this.#pieces) this.#writePiece(target, view, piece, address);
  }

  #placeRows(): number {
    let offset: number = header.size;
    this.#program.rows.forEach((row, index) => {
      if ("label" in row) {
        if (this.#labels.has(row.label)) throw new RangeError(`Label "${row.label}" occurs twice`);
        this.#labels.set(row.label, offset);
        return;
      }
      if ("as" in row && row.as !== undefined) {
        if (this.results.has(row.as)) throw new RangeError(`Result "${row.as}" occurs twice`);
        this.results.set(row.as, offset);
      }
      this.rowIndexes.set(offset, index);
      offset += layout.size;
    });
    return offset + layout.size;
  }

  #reserve(sizeBytes: number): number {
    const offset = Math.ceil(this.#end / alignment) * alignment;
    this.#end = offset + sizeBytes;
    return offset;
  }

  #placeData(arg: Argument): void {
    if (typeof arg === "number" || typeof arg === "bigint" || this.#data.has(dataKey(arg))) return;
    const sizeBytes = dataSize(arg);
    if (sizeBytes === undefined) return;
    const offset = this.#reserve(sizeBytes);
    this.#data.set(dataKey(arg), offset);
    this.#pieces.push({ offset, value: arg });
    if (typeof arg !== "object") return;
    if ("strings" in arg) for (const text of arg.strings) this.#placeData(text);
    if ("pointers" in arg) for (const inner of Object.values(arg.pointers)) this.#placeData(inner);
  }

  #writePiece(
    target: Uint8Array,
    view: DataView,
    { offset, value }: { readonly offset: number; readonly value: Argument },
    address: number,
  ): void {
    if (typeof value === "string") target.set(Buffer.from(value), offset);
    else if (value instanceof Uint8Array) target.set(value, offset);
    else if (typeof value === "object" && "strings" in value)
      value.strings.forEach((text, index) => {
        view.setBigUint64(offset + 8 * index, BigInt(address + this.#dataOffset(text)), true);
      });
    else if (typeof value === "object" && "struct" in value) {
      target.set(value.struct, offset);
      for (const [at, inner] of Object.entries(value.pointers)) {
        const [how, number] = this.#resolve(inner);
        if (how !== kind.data && how !== kind.immediate)
          throw new RangeError("A pointer in a struct must be known before the program runs");
        const pointer = how === kind.data ? BigInt(address) + BigInt(number) : BigInt(number);
        view.setBigUint64(offset + Number(at), BigInt.asUintN(64, pointer), true);
      }
    }
  }

  #writeRow(view: DataView, offset: number, row: Exclude<Row, { label: string }>): void {
    const { number, args, onError = 0, target = 0 } = this.#plan(row);
    view.setUint32(offset, number, true);
    let kinds = 0;
    args.forEach((arg, index) => {
      const [how, value] = this.#resolve(arg);
      kinds |= how << (4 * index);
      const at = offset + layout.args + 8 * index;
      if (typeof value === "bigint") view.setBigInt64(at, BigInt.asIntN(64, value), true);
      else {
        view.setUint32(at, value, true);
        view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
      }
    });
    view.setUint32(offset + layout.kinds, kinds, true);
    if ("call" in row)
      row.ignore?.forEach((errno, index) => {
        view.setUint8(offset + layout.ignore + index, errnoNumber(errno));
      });
    view.setUint32(offset + layout.onError, onError, true);
    view.setUint32(offset + layout.target, target, true);
  }

  #plan(row: Exclude<Row, { label: string }>): {
    number: number;
    args: readonly Argument[];
    onError?: number;
    target?: number;
  } {
    const op = (number: number) => (operationBit | number) >>> 0;
    if ("call" in row) return this.#planCall(row);
    if ("jump" in row) {
      const [left, how, right] = row.if ?? [0, undefined, 0];
      const condition = how === undefined ? alwaysJump : comparisons.indexOf(how);
      const target = this.#labelOffset(row.jump);
      return { number: op(operation.jump), args: [left, right, condition], target };
    }
    if ("store" in row)
      return { number: op(operation.store), args: [row.store, row.value, row.width] };
    if ("read" in row) return { number: op(operation.load), args: [row.read, row.width] };
    if ("compute" in row) {
      const [left, how, right] = row.compute;
      return { number: op(operation.compute), args: [left, right, operations.indexOf(how)] };
    }
    if ("copy" in row) return { number: op(operation.copy), args: [row.to, row.copy, row.length] };
    if ("run" in row) return { number: op(operation.run), args: [row.run] };
    return { number: op(operation.end), args: [row.end] };
  }

  #planCall(row: CallRow) {
    if (row.args.length > argumentCount)
      throw new RangeError(`"${row.call}" is given ${row.args.length} arguments, at most 6 exist`);
    if ((row.ignore?.length ?? 0) > layout.ignoreCount)
      throw new RangeError(`"${row.call}" can ignore at most ${layout.ignoreCount} errnos`);
    const handler = row.onError ?? this.#program.onError;
    const onError = handler === undefined ? 0 : this.#labelOffset(handler);
    return { number: syscallsX86_64[row.call], args: row.args, onError };
  }

  /** Kind of an argument and the number that goes into the row. */
  #resolve(arg: Argument): readonly [how: number, value: number | bigint] {
    if (typeof arg === "number" || typeof arg === "bigint") return [kind.immediate, arg];
    if (typeof arg === "object" && !(arg instanceof Uint8Array)) {
      if ("last" in arg) return [kind.last, 0];
      if ("result" in arg) {
        const row = this.results.get(arg.result);
        if (row === undefined) throw new RangeError(`No row has the result "${arg.result}"`);
        return [kind.load64, row + layout.result];
      }
      if ("buffer" in arg) return [kind.data, this.#bufferOffset(arg.buffer, arg.offset)];
      if ("load" in arg) {
        const how = arg.width === 8 ? kind.load64 : kind.load32;
        return [how, this.#bufferOffset(arg.load, arg.offset)];
      }
    }
    return [kind.data, this.#dataOffset(arg)];
  }

  #dataOffset(arg: Argument): number {
    const offset = this.#data.get(dataKey(arg));
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
  if ("jump" in row) return row.if === undefined ? [] : [row.if[0], row.if[2]];
  if ("store" in row) return [row.value];
  if ("read" in row) return [row.read];
  if ("compute" in row) return [row.compute[0], row.compute[2]];
  if ("copy" in row) return [row.copy, row.to, row.length];
  if ("run" in row) return [row.run];
  if ("end" in row) return [row.end];
  return [];
}

/** Equal strings share their place; structs and byte arrays are placed by identity. */
function dataKey(arg: Argument): string | Uint8Array | object {
  if (typeof arg === "string" || typeof arg === "object") return arg;
  throw new TypeError(`Expected data, got ${arg}`);
}

/** Bytes that an argument needs in the data area; undefined when it needs none. */
function dataSize(arg: Exclude<Argument, number | bigint>): number | undefined {
  if (typeof arg === "string") {
    if (arg.includes("\0"))
      throw new TypeError(`Cannot pass ${JSON.stringify(arg)} to the kernel: it contains a NUL`);
    return Buffer.byteLength(arg) + 1;
  }
  if (arg instanceof Uint8Array) return arg.length;
  if ("strings" in arg) return 8 * (arg.strings.length + 1);
  if ("struct" in arg) return arg.struct.length;
  return undefined;
}
