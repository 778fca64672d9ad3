/**
 * What the software CPU has made of code, as bytes: a restored machine then neither generates the
 * interpreter nor decodes again what its kernel runs all the time. The bytes are of one build of ours
 * and of one state of RAM; whoever keeps them sees to that.
 *
 * ```
 * u32 × 8      slots of the interpreter's table, then the sizes of the parts below in bytes
 * interpreter  a WebAssembly module
 * rows         runs (interpreter/code-page-map.ts)
 * helpers      JSON: instructions that TypeScript executes, by number
 * records      from layout.records on
 * ```
 */
import { layout } from "./state.ts";

export interface SavedInterpreter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly tableSize: number;
}

export interface SavedRuns {
  readonly rows: Int32Array;
  readonly helpers: string;
  readonly records: Uint8Array;
}

const HEADER_WORDS = 8;
const HEADER_BYTES = HEADER_WORDS * 4;

export function encodeCode(interpreter: SavedInterpreter, runs: SavedRuns): Uint8Array {
  const { rows } = runs;
  const parts = [
    interpreter.bytes,
    new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength),
    Buffer.from(runs.helpers),
    runs.records,
  ];
  const header = new Uint32Array(HEADER_WORDS);
  header.set([interpreter.tableSize, ...parts.map(({ length }) => length)]);
  return Buffer.concat([new Uint8Array(header.buffer), ...parts]);
}

/** Views of the parts, but for the interpreter, which is a copy. Throws RangeError for other bytes. */
export function decodeCode(bytes: Uint8Array): SavedInterpreter & SavedRuns {
  const header = new Uint32Array(bytes.slice(0, HEADER_BYTES).buffer);
  const [tableSize = 0, ...sizes] = header;
  const [interpreterBytes = 0, rowBytes = 0, helperBytes = 0, recordBytes = 0] = sizes;
  const total = interpreterBytes + rowBytes + helperBytes + recordBytes;
  if (bytes.length !== HEADER_BYTES + total || recordBytes > layout.recordsEnd - layout.records)
    throw new RangeError(`Cannot use ${bytes.length} bytes as saved code: expected its parts`);
  let at = HEADER_BYTES;
  const take = (size: number): Uint8Array => {
    at += size;
    return bytes.subarray(at - size, at);
  };
  const interpreter = Uint8Array.from(take(interpreterBytes));
  const rows = new Int32Array(take(rowBytes).slice().buffer);
  const helpers = Buffer.from(take(helperBytes)).toString();
  return { bytes: interpreter, tableSize, rows, helpers, records: take(recordBytes) };
}
