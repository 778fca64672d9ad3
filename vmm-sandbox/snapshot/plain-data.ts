/**
 * Plain data as JSON and back: a machine's state has bigints and bytes besides what JSON knows.
 *
 * ```
 * 12n → {"$int": "12"}     bytes → {"$bytes": base64}     undefined in objects: left out
 * ```
 */
const MAX_DEPTH = 32;

export function encodeData(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (typeof item === "bigint") return { $int: `${item}` };
    if (item instanceof Uint8Array) return { $bytes: Buffer.from(item).toString("base64") };
    return item;
  });
}

/** Throws SyntaxError for what `encodeData` never wrote. */
export function decodeData(text: string): unknown {
  return revive(JSON.parse(text), 0);
}

function revive(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (depth > MAX_DEPTH)
    throw new SyntaxError(`Cannot read data nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return value.map((item) => revive(item, depth + 1));
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first !== undefined) {
    const [name, item] = first;
    if (name === "$int") return readInteger(item);
    if (name === "$bytes") return readBytes(item);
  }
  return Object.fromEntries(entries.map(([name, item]) => [name, revive(item, depth + 1)]));
}

function readInteger(item: unknown): bigint {
  if (typeof item === "string" && /^-?\d{1,40}$/.test(item)) return BigInt(item);
  throw new SyntaxError(`Expected the digits of an integer, got ${JSON.stringify(item)}`);
}

/** A copy of its own: base64 decoding may hand out parts of a shared pool. */
function readBytes(item: unknown): Uint8Array {
  if (typeof item !== "string") throw new SyntaxError("Expected bytes in base64");
  return Uint8Array.from(Buffer.from(item, "base64"));
}
