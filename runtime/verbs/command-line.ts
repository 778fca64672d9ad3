/** runc's way of writing options: "-f v", "--flag v", "--flag=v", and booleans without a value. */

export type OptionTable = Readonly<Record<string, "text" | "boolean" | "list">>;

/** A command line that runc's grammar does not allow. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export class ParsedOptionsOf {
  readonly #values: ReadonlyMap<string, readonly string[]>;
  readonly rest: readonly string[];

  constructor(values: ReadonlyMap<string, readonly string[]>, rest: readonly string[]) {
    this.#values = values;
    this.rest = rest;
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  flag(name: string): boolean {
    const value = this.text(name);
    return value !== undefined && value !== "false" && value !== "0";
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }
}

/**
 * Options end at the first argument that is none, or after "--". `aliases` gives the long name of
 * a short one.
 */
export function parseOptions(
  args: readonly string[],
  table: OptionTable,
  aliases: Readonly<Record<string, string>> = {},
): ParsedOptionsOf {
  const values = new Map<string, readonly string[]>();
  let at = 0;
  for (; at < args.length; at += 1) {
    const word = args[at] ?? "";
    if (word === "--") {
      at += 1;
      break;
    }
    if (!word.startsWith("-") || word === "-") break;
    const equals = word.indexOf("=");
    const spelled = word.slice(word.startsWith("--") ? 2 : 1, equals < 0 ? undefined : equals);
    const name = Object.hasOwn(aliases, spelled) ? (aliases[spelled] ?? spelled) : spelled;
    const kind = Object.hasOwn(table, name) ? table[name] : undefined;
    if (kind === undefined) throw new UsageError(`flag provided but not defined: -${spelled}`);
    let value = equals < 0 ? undefined : word.slice(equals + 1);
    if (value === undefined && kind === "boolean") value = "true";
    if (value === undefined) {
      at += 1;
      value = args[at];
      if (value === undefined) throw new UsageError(`flag needs an argument: -${spelled}`);
    }
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  return new ParsedOptionsOf(values, args.slice(at));
}
