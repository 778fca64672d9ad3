/**
 * Physical pages with translated code. Those that came with a snapshot are kept as rows, and become
 * objects when somebody first asks for them: most are never run again.
 *
 * ```
 * row   page, start | end << 16, first record, records | mode << 16
 * ```
 */
import { layout, pageMark, record } from "../state.ts";
import { CodePage, type Run } from "./code-page.ts";
import { specialHandlers } from "./core.ts";

const ROW_WORDS = 4;

export class CodePageMap extends Map<number, CodePage> {
  #rows: Int32Array = new Int32Array(0);
  /** Where a page's rows begin and end. */
  readonly #frozen = new Map<number, readonly [from: number, to: number]>();
  /** What WebAssembly knows of it. */
  readonly #marks: Uint8Array;

  constructor(memory: WebAssembly.Memory) {
    super();
    this.#marks = new Uint8Array(memory.buffer);
  }

  #mark(page: number, hasCode: boolean): void {
    const at = layout.pageMarks + page;
    const others = (this.#marks[at] as number) & ~pageMark.code;
    this.#marks[at] = others | (hasCode ? pageMark.code : 0);
  }

  override set(page: number, code: CodePage): this {
    this.#mark(page, true);
    return super.set(page, code);
  }

  override get(page: number): CodePage | undefined {
    return super.get(page) ?? (this.#frozen.size > 0 ? this.#thaw(page) : undefined);
  }

  override has(page: number): boolean {
    return super.has(page) || this.#frozen.has(page);
  }

  override delete(page: number): boolean {
    this.#mark(page, false);
    return this.#frozen.delete(page) || super.delete(page);
  }

  override clear(): void {
    for (const page of this.#frozen.keys()) this.#mark(page, false);
    for (const page of this.keys()) this.#mark(page, false);
    this.#frozen.clear();
    super.clear();
  }

  /** Rows of a snapshot, those of a page together. */
  freeze(rows: Int32Array): void {
    this.#rows = rows;
    for (let from = 0; from < rows.length; ) {
      const page = rows[from] as number;
      let to = from + ROW_WORDS;
      while (rows[to] === page) to += ROW_WORDS;
      this.#frozen.set(page, [from, to]);
      this.#mark(page, true);
      from = to;
    }
  }

  /** Pages whose rows nobody has asked for. */
  get frozen(): readonly number[] {
    return [...this.#frozen.keys()];
  }

  /** All runs of 64-bit code that can be found by their address. */
  rows(): Int32Array {
    for (const page of [...this.#frozen.keys()]) this.#thaw(page);
    const rows: number[] = [];
    for (const [page, { runs, entries }] of this)
      for (const { start, end, firstRecord, records } of runs)
        for (const mode of [0, 1])
          if (entries.get(mode)?.[start] === firstRecord)
            rows.push(page, start | (end << 16), firstRecord, records | (mode << 16));
    return Int32Array.from(rows);
  }

  #thaw(page: number): CodePage | undefined {
    const range = this.#frozen.get(page);
    if (range === undefined) return undefined;
    this.#frozen.delete(page);
    const code = new CodePage();
    for (let at = range[0]; at < range[1]; at += ROW_WORDS) this.#add(code, at);
    this.set(page, code);
    return code;
  }

  #add(code: CodePage, at: number): void {
    const [, place = 0, firstRecord = 0, shape = 0] = this.#rows.subarray(at, at + ROW_WORDS);
    const run: Run = {
      start: place & 0xffff,
      end: place >>> 16,
      firstRecord,
      records: shape & 0xffff,
    };
    const mode = shape >>> 16;
    code.runs.push(run);
    code.lines.fill(1, run.start >> 6, ((run.end - 1) >> 6) + 1);
    let entries = code.entries.get(mode);
    if (entries === undefined) {
      entries = new Int32Array(4096);
      code.entries.set(mode, entries);
    }
    entries[run.start] = firstRecord;
  }
}

/** A short program is over before the kernel's code, decoded already, has paid for its compiling. */
const PATIENCE = 4;

/** In a copy of all records: nothing is compiled, and runs are hot later than others. */
export function resetHeads(rows: Int32Array, records: Uint8Array, hotThreshold: number): void {
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  for (let at = 2; at < rows.length; at += ROW_WORDS) {
    const head = (rows[at] as number) - layout.records;
    view.setUint16(head, specialHandlers.count, true);
    view.setInt32(head + record.immediate, hotThreshold * PATIENCE, true);
  }
}
