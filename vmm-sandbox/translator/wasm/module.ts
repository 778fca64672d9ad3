/**
 * Puts function bodies together into a WebAssembly module (Core Specification §5.5).
 *
 *   types · imports (memory, table, functions) · functions · exports · elements · hints · code
 */
import { type Body, type ValueTypeName, valueType } from "./assembler.ts";

export type FunctionType = {
  readonly parameters: readonly ValueTypeName[];
  readonly results: readonly ValueTypeName[];
};

export type MemoryLimits = {
  readonly initialPages: number;
  readonly maximumPages: number;
  readonly shared: boolean;
};

class Bytes {
  private data = new Uint8Array(1 << 12);
  private size = 0;

  reserve(count: number): void {
    if (this.size + count <= this.data.length) return;
    const larger = new Uint8Array(Math.max(this.data.length * 2, this.size + count));
    larger.set(this.data.subarray(0, this.size));
    this.data = larger;
  }
  byte(value: number): void {
    this.reserve(1);
    this.data[this.size++] = value;
  }
  unsigned(value: number): void {
    let rest = value;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest = Math.floor(rest / 128);
    }
    this.byte(rest);
  }
  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.data.set(bytes, this.size);
    this.size += bytes.length;
  }
  name(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.unsigned(encoded.length);
    this.append(encoded);
  }
  section(id: number, content: Bytes): void {
    if (content.size === 0) return;
    this.byte(id);
    this.unsigned(content.size);
    this.append(content.data.subarray(0, content.size));
  }
  finish(): Uint8Array<ArrayBuffer> {
    return this.data.slice(0, this.size);
  }
}

/**
 * Collects types, imports and functions. All function imports must be declared before the first
 * function, because they share one index space.
 */
export class ModuleBuilder {
  private readonly types: FunctionType[] = [];
  private readonly imports: { readonly name: string; readonly type: number }[] = [];
  private readonly functions: { readonly type: number; body: Body | undefined }[] = [];
  private readonly exports: { readonly name: string; readonly index: number }[] = [];
  private readonly elements: { readonly slot: number; readonly index: number }[] = [];
  private readonly memory: MemoryLimits;
  private readonly tableSize: number;

  /** The module imports `env.memory` and a funcref table `env.table` of at least `tableSize`. */
  constructor(memory: MemoryLimits, tableSize: number) {
    this.memory = memory;
    this.tableSize = tableSize;
  }

  type(parameters: readonly ValueTypeName[], results: readonly ValueTypeName[]): number {
    const key = `${parameters}>${results}`;
    const known = this.types.findIndex((type) => `${type.parameters}>${type.results}` === key);
    if (known >= 0) return known;
    return this.types.push({ parameters, results }) - 1;
  }

  import(name: string, type: number): number {
    if (this.functions.length > 0) throw new Error(`Cannot import "${name}" after a function`);
    return this.imports.push({ name, type }) - 1;
  }

  /** Declares a function, so that others can call it; `define` gives its body. */
  declare(type: number): number {
    return this.imports.length + this.functions.push({ type, body: undefined }) - 1;
  }

  define(index: number, body: Body): void {
    const declared = this.functions[index - this.imports.length];
    if (!declared) throw new RangeError(`Cannot define function ${index}: it was not declared`);
    declared.body = body;
  }

  export(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  /** Puts a function into slot `slot` of the table when the module is instantiated. */
  element(slot: number, index: number): void {
    this.elements.push({ slot, index });
  }

  build(): Uint8Array<ArrayBuffer> {
    const module = new Bytes();
    module.append(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    module.section(1, this.typeSection());
    module.section(2, this.importSection());
    module.section(3, this.functionSection());
    module.section(7, this.exportSection());
    module.section(9, this.elementSection());
    module.section(0, this.hintSection());
    module.section(10, this.codeSection());
    return module.finish();
  }

  private typeSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.types.length);
    for (const { parameters, results } of this.types) {
      out.byte(0x60);
      for (const list of [parameters, results]) {
        out.unsigned(list.length);
        for (const type of list) out.byte(valueType[type]);
      }
    }
    return out;
  }

  private importSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.imports.length + 2);
    out.name("env");
    out.name("memory");
    out.byte(2);
    out.byte(this.memory.shared ? 3 : 1);
    out.unsigned(this.memory.initialPages);
    out.unsigned(this.memory.maximumPages);
    out.name("env");
    out.name("table");
    out.byte(1);
    out.byte(0x70);
    out.byte(0);
    out.unsigned(this.tableSize);
    for (const { name, type } of this.imports) {
      out.name("env");
      out.name(name);
      out.byte(0);
      out.unsigned(type);
    }
    return out;
  }

  private functionSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.functions.length);
    for (const { type } of this.functions) out.unsigned(type);
    return out;
  }

  private exportSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.exports.length);
    for (const { name, index } of this.exports) {
      out.name(name);
      out.byte(0);
      out.unsigned(index);
    }
    return out;
  }

  private elementSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.elements.length);
    for (const { slot, index } of this.elements) {
      out.byte(0); // active, table 0
      out.byte(0x41); // i32.const
      signed(out, slot);
      out.byte(0x0b);
      out.unsigned(1);
      out.unsigned(index);
    }
    return out;
  }

  private codeSection(): Bytes {
    const out = new Bytes();
    out.unsigned(this.functions.length);
    for (const [index, { body }] of this.functions.entries()) {
      if (!body) throw new Error(`Cannot build: function ${index} has no body`);
      out.unsigned(body.bytes.length);
      out.append(body.bytes);
    }
    return out;
  }

  /** WebAssembly Branch Hinting: per function with hints, {offset, size 1, value} each. */
  private hintSection(): Bytes {
    const hinted = [...this.functions.entries()].filter(([, { body }]) => body?.hints.length);
    const out = new Bytes();
    if (hinted.length === 0) return out;
    out.name("metadata.code.branch_hint");
    out.unsigned(hinted.length);
    for (const [index, { body }] of hinted) {
      const hints = body?.hints ?? [];
      out.unsigned(this.imports.length + index);
      out.unsigned(hints.length / 2);
      for (let i = 0; i < hints.length; i += 2) {
        out.unsigned(hints[i] as number);
        out.byte(1);
        out.byte(hints[i + 1] as number);
      }
    }
    return out;
  }
}

/** Signed LEB128 of a non-negative number. */
function signed(out: Bytes, value: number): void {
  let rest = value;
  while (rest > 0x3f) {
    out.byte((rest & 0x7f) | 0x80);
    rest >>= 7;
  }
  out.byte(rest);
}
