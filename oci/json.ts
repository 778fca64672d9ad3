/**
 * Reads foreign JSON by tables: one row per field, errors that name the path of the bad value.
 *
 * Go writes `null` for an empty slice, map or pointer, and every OCI producer is written in Go, so
 * an optional field that is `null` counts as absent. Unknown fields are ignored, as the
 * specifications demand (image-spec "considerations.md", Extensibility).
 */
import { quoteText, SpecError } from "./spec-error.ts";

export interface JsonLimits {
  readonly maxBytes: number;
  /** Deepest nesting of objects and arrays, in texts long enough for it to matter. */
  readonly maxDepth: number;
}

/** Turns a JSON value into a T, or throws a `ValueError` for the path it was given. */
export type Reader<T> = (value: unknown, path: string) => T;

interface RequiredField<T> {
  readonly read: Reader<T>;
  readonly optional: false;
}
interface OptionalField<T> {
  readonly read: Reader<T>;
  readonly optional: true;
}
type IsOptional<T, Key extends keyof T> = Record<never, never> extends Pick<T, Key> ? true : false;

/** One row per field of T; the compiler refuses a table that misses one. */
export type FieldTable<T> = {
  readonly [Key in keyof T]-?: IsOptional<T, Key> extends true
    ? OptionalField<Exclude<T[Key], undefined>>
    : RequiredField<T[Key]>;
};

/** A value is not what its reader expects; `readJson` turns it into a SpecError. */
class ValueError extends Error {
  readonly path: string;
  constructor(path: string, problem: string) {
    super(problem);
    this.path = path;
  }
}

/** Parses `source` and reads it with `reader`; throws SpecError naming `document` and the path. */
export function readJson<T>(
  source: Uint8Array | string,
  document: string,
  reader: Reader<T>,
  limits: JsonLimits,
): T {
  return readValue(parseJson(source, document, limits), document, reader);
}

/** Reads a JSON value that is parsed already. */
export function readValue<T>(value: unknown, document: string, reader: Reader<T>): T {
  try {
    return reader(value, "");
  } catch (error) {
    if (error instanceof ValueError) {
      throw new SpecError({ document, path: error.path, problem: error.message });
    }
    throw error;
  }
}

/** Parses UTF-8 JSON within limits. A byte order mark is refused, as Go's decoder does. */
export function parseJson(
  source: Uint8Array | string,
  document: string,
  limits: JsonLimits,
): unknown {
  const fail = (problem: string, cause?: unknown) =>
    new SpecError({ document, path: "", problem }, cause === undefined ? undefined : { cause });
  if (source.length > limits.maxBytes) {
    throw fail(`it has ${source.length} bytes, expected at most ${limits.maxBytes}`);
  }
  let text: string;
  try {
    text = typeof source === "string" ? source : decodeUtf8(source);
  } catch (cause) {
    throw fail("it is not UTF-8 text, expected JSON", cause);
  }
  // Counted before parsing, as deep nesting costs seconds. What is short is parsed in milliseconds
  // however it nests, while counting would cost each `run` more than all else here.
  if (text.length > MAX_UNCOUNTED_LENGTH && nestingExceeds(text, limits.maxDepth)) {
    throw fail(`it nests deeper than ${limits.maxDepth} levels`);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw fail(`it is not JSON: it starts with ${quoteText(text.slice(0, 40))}`, cause);
  }
}

const MAX_UNCOUNTED_LENGTH = 64 * 1024;

function decodeUtf8(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
}

function nestingExceeds(text: string, maxDepth: number): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const character = text.charCodeAt(index);
    if (inString) {
      if (character === 0x5c /* \ */) index++;
      else if (character === 0x22 /* " */) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x7b || character === 0x5b /* { [ */) {
      if (++depth > maxDepth) return true;
    } else if (character === 0x7d || character === 0x5d /* } ] */) depth--;
  }
  return false;
}

export const required = <T>(read: Reader<T>): RequiredField<T> => ({ read, optional: false });
export const optional = <T>(read: Reader<T>): OptionalField<T> => ({ read, optional: true });

export const string: Reader<string> = (value, path) => {
  if (typeof value === "string") return value;
  throw wrongType(value, path, "a string");
};

export const boolean: Reader<boolean> = (value, path) => {
  if (typeof value === "boolean") return value;
  throw wrongType(value, path, "true or false");
};

/** An integer that a double holds exactly. */
export const integer: Reader<number> = (value, path) => {
  if (Number.isSafeInteger(value)) return Number(value);
  throw wrongType(value, path, "an integer below 2^53");
};

export const size: Reader<number> = (value, path) => {
  const number = integer(value, path);
  if (number >= 0) return number;
  throw wrongType(value, path, "a size of 0 or more");
};

/** A string that `parse` understands; its SpecError becomes one about this path. */
export function parsed<T>(parse: (text: string) => T): Reader<T> {
  return (value, path) => {
    const text = string(value, path);
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof SpecError) throw new ValueError(path, error.failure.problem);
      throw error;
    }
  };
}

/** An array of at most `maxItems`; Go's nil slice, `null`, is an empty one. */
export function array<T>(item: Reader<T>, maxItems: number): Reader<readonly T[]> {
  return (value, path) => {
    if (value === null) return [];
    if (!Array.isArray(value)) throw wrongType(value, path, "an array");
    if (value.length > maxItems) {
      throw new ValueError(path, `has ${value.length} items, expected at most ${maxItems}`);
    }
    return value.map((each, index) => item(each, `${path}[${index}]`));
  };
}

/** An object whose keys are free: labels, annotations. */
export function record<T>(
  item: Reader<T>,
  maxEntries: number,
): Reader<Readonly<Record<string, T>>> {
  return (value, path) => {
    const entries = Object.entries(asObject(value, path));
    if (entries.length > maxEntries) {
      throw new ValueError(path, `has ${entries.length} entries, expected at most ${maxEntries}`);
    }
    // fromEntries defines properties, so a key "__proto__" stays an ordinary key.
    return Object.fromEntries(entries.map(([key, each]) => [key, item(each, join(path, key))]));
  };
}

/** An object with the fields of the table; others are ignored. */
export function object<T extends object>(table: FieldTable<T>): Reader<T> {
  const fields: [string, RequiredField<unknown> | OptionalField<unknown>][] = Object.entries(table);
  return (value, path) => {
    const source = asObject(value, path);
    const result: Record<string, unknown> = {};
    for (const [name, field] of fields) {
      const member = Object.hasOwn(source, name) ? source[name] : undefined;
      if (field.optional && (member === undefined || member === null)) continue;
      result[name] = field.read(member, join(path, name));
    }
    // SAFE: the table has a row for each field of T, and each row's reader returns that type.
    return result as T;
  };
}

function asObject(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    // SAFE: a JSON object has string keys and unknown values.
    return value as Readonly<Record<string, unknown>>;
  }
  throw wrongType(value, path, "an object");
}

function join(path: string, name: string): string {
  if (!/^[\w.-]+$/.test(name)) return `${path}[${quoteText(name)}]`;
  return path === "" ? name : `${path}.${name}`;
}

function wrongType(value: unknown, path: string, expected: string): ValueError {
  return new ValueError(path, `is ${describe(value)}, expected ${expected}`);
}

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "string") return quoteText(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
