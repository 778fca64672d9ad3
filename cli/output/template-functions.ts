/** Functions a --format template may call: Go's own that matter, and docker's. */

/** A --format template that cannot be understood or does not fit the data. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
  readonly status = 1;
  readonly hint = "fields are written '{{.Name}}'; '{{json .}}' shows them all";
  constructor(reason: string) {
    super(`Cannot use the format template: ${reason}`);
  }
}

const functions: Readonly<Record<string, (...args: unknown[]) => unknown>> = {
  json: (value) => JSON.stringify(value ?? null),
  join: (value, separator) => items(value).map(show).join(show(separator)),
  split: (value, separator) => show(value).split(show(separator)),
  upper: (value) => show(value).toUpperCase(),
  lower: (value) => show(value).toLowerCase(),
  title: (value) => show(value).replace(/\b\p{L}/gu, (letter) => letter.toUpperCase()),
  pad: (value, before, after) => " ".repeat(count(before)) + show(value) + " ".repeat(count(after)),
  truncate: (value, length) => show(value).slice(0, count(length)),
  len: (value) => (typeof value === "string" ? Buffer.byteLength(value) : items(value).length),
  index: (value, ...keys) => keys.reduce(at, value),
  slice: (value, from, to) => (items(value) as unknown[]).slice(count(from), to as number),
  print: (...values) => values.map(show).join(""),
  println: (...values) => `${values.map(show).join(" ")}\n`,
  printf: (pattern, ...values) => printf(show(pattern), values),
  eq: (value, ...others) => others.some((other) => show(value) === show(other)),
  ne: (value, other) => show(value) !== show(other),
  lt: (a, b) => Number(a) < Number(b),
  le: (a, b) => Number(a) <= Number(b),
  gt: (a, b) => Number(a) > Number(b),
  ge: (a, b) => Number(a) >= Number(b),
  and: (...values) => values.find((value) => !isTrue(value)) ?? values.at(-1),
  or: (...values) => values.find(isTrue) ?? values.at(-1),
  not: (value) => !isTrue(value),
};

export function callFunction(name: string, args: readonly unknown[]): unknown {
  const call = Object.hasOwn(functions, name) ? functions[name] : undefined;
  if (call === undefined) throw new TemplateError(`there is no function "${name}"`);
  return call(...args);
}

/** text/template's truth: false, 0, "", nil and empty collections are not. */
export function isTrue(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return items(value).length > 0;
  return Boolean(value);
}

/** As Go prints it with %v. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return "<no value>";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object") {
    const keys = Object.keys(value).sort();
    const fields = value as Record<string, unknown>;
    return `map[${keys.map((key) => `${key}:${show(fields[key])}`).join(" ")}]`;
  }
  return String(value);
}

function items(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value === "object" && value !== null) return Object.values(value);
  if (value === undefined || value === null) return [];
  throw new TemplateError(`expected a list, got ${JSON.stringify(value)}`);
}

function at(value: unknown, key: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  if (Array.isArray(value)) return value[count(key)];
  if (typeof value !== "object" || !Object.hasOwn(value, String(key))) return "";
  return (value as Record<string, unknown>)[String(key)];
}

const COUNT_LIMIT = 10_000; // padding that no terminal shows

function count(value: unknown): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0 || number > COUNT_LIMIT) {
    throw new TemplateError(`expected a small whole number, got ${JSON.stringify(value)}`);
  }
  return number;
}

/** %s %v %d %q %t %x, with a width. */
function printf(pattern: string, values: readonly unknown[]): string {
  let next = 0;
  return pattern.replace(
    /%(-?)(\d*)([svdqtx%])/g,
    (_, left: string, width: string, verb: string) => {
      if (verb === "%") return "%";
      const value = values[next++];
      const text =
        verb === "q"
          ? JSON.stringify(show(value))
          : verb === "x"
            ? Number(value).toString(16)
            : show(value);
      const columns = count(width || 0);
      return left === "-" ? text.padEnd(columns) : text.padStart(columns);
    },
  );
}
