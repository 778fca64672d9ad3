/**
 * What a verb of the command line is: names, flags, arguments. One table of these (table/) yields
 * the parser, the help, the completion scripts and the manual page; the code that does the work is
 * loaded only when its verb is asked for.
 */

interface FlagText {
  readonly short?: string;
  readonly description: string;
  /** Where completion finds values: names of images, file names, or one of these words. */
  readonly completes?: "image" | "container" | "file" | readonly string[];
  /** Shown in the help as "(default …)". */
  readonly fallback?: string;
  /** The flag is known, but what it asks for does not exist yet: the sentence says what to do. */
  readonly later?: string;
  /** Older or foreign spellings, such as `--net` for `--network`. */
  readonly aliases?: readonly string[];
}

/** `--rm`, `--rm=false`. */
export interface Switch extends FlagText {
  readonly kind: "switch";
}

/** Takes one value; the last one given counts. */
export interface One<T> extends FlagText {
  readonly kind: "one";
  /** The value may be left out and then is this; one that is given stands behind "=". */
  readonly bare?: string;
  /** Word that stands for the value in the help: "string", "bytes". */
  readonly value: string;
  /** Throws a SyntaxError whose message says what was expected. */
  readonly parse: (text: string) => T;
}

/** May be given again and again; values are kept in order. */
export interface List<T> extends FlagText {
  readonly kind: "list";
  readonly value: string;
  readonly parse: (text: string) => T;
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds flags of every value type
export type Flag = Switch | One<any> | List<any>;
export type Flags = Readonly<Record<string, Flag>>;

/** The values of a table of flags, by their long names. */
export type ValuesOf<F extends Flags> = {
  readonly [K in keyof F]: F[K] extends List<infer T>
    ? readonly T[]
    : F[K] extends One<infer T>
      ? T | undefined
      : boolean;
};

export interface Parsed<F extends Flags = Flags> {
  readonly values: ValuesOf<F>;
  readonly args: readonly string[];
}

/** What a verb gets besides its own flags. */
export interface Context {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** State root named by `--root` before the verb, or by MANYWORLDS_ROOT. */
  readonly root: string | undefined;
}

/** Does a verb's work; what it resolves to is the exit status. */
export type Handler<F extends Flags = Flags> = (
  parsed: Parsed<F>,
  context: Context,
) => Promise<number> | number;

/** What the parser needs to know of a verb. */
export interface Grammar<F extends Flags = Flags> {
  /** Words after the program's name: "run", "image prune". */
  readonly name: string;
  /** After "[OPTIONS]" in the usage line. */
  readonly usage: string;
  readonly flags: F;
  /** How many arguments may follow. */
  readonly minArgs: number;
  readonly maxArgs: number;
  /** Flags may stand after arguments too; false where the rest belongs to a program. */
  readonly interspersed: boolean;
}

export interface Command<F extends Flags = Flags> extends Grammar<F> {
  /** Other spellings: "container run". */
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly group: "common" | "image" | "other" | "hidden";
  readonly completes?: "image" | "container" | "file" | readonly string[];
  /** Lines under the options in the help. */
  readonly notes?: readonly string[];
  readonly load: () => Promise<Handler<F>>;
}

type Text = Omit<FlagText, "description">;

export function toggle(description: string, text: Text = {}): Switch {
  return { kind: "switch", description, ...text };
}

export function one<T>(
  value: string,
  parse: (text: string) => T,
  description: string,
  text: Text = {},
): One<T> {
  return { kind: "one", value, parse, description, ...text };
}

export function list<T>(
  value: string,
  parse: (text: string) => T,
  description: string,
  text: Text = {},
): List<T> {
  return { kind: "list", value, parse, description, ...text };
}

/** `--flag` or `--flag=VALUE`. */
export function optional<T>(
  value: string,
  parse: (text: string) => T,
  description: string,
  text: Text & { readonly bare: string },
): One<T> {
  return { kind: "one", value, parse, description, ...text };
}

/** The next word is never this flag's value. */
export function standsAlone(flag: Flag): boolean {
  return flag.kind === "switch" || (flag.kind === "one" && flag.bare !== undefined);
}

/** What a reader sees of its value: " FILE", "[=FILE]", or nothing. */
export function valueText(flag: Flag): string {
  if (flag.kind === "switch") return "";
  return standsAlone(flag) ? `[=${flag.value}]` : ` ${flag.value}`;
}

/** One of a few words. */
export function choice<const W extends readonly string[]>(
  words: W,
  description: string,
  text: Text = {},
): One<W[number]> {
  const parse = (given: string): W[number] => {
    const word = words.find((each) => each === given);
    if (word === undefined) throw new SyntaxError(`expected ${words.join(", ")}`);
    return word;
  };
  return { kind: "one", value: "string", parse, description, completes: words, ...text };
}

export function command<F extends Flags>(row: Command<F>): Command<F> {
  return row;
}

/** The value as it was written. */
export function asText(text: string): string {
  return text;
}
