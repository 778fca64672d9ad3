/**
 * Finds the imports of a TypeScript source file by its text.
 *
 * A regular expression suffices because Biome has formatted every file: statements begin their
 * line, and specifiers are in double quotes. Type-only imports count too: a folder that knows
 * another's types knows the other.
 */

export type ImportKind = "static" | "type" | "dynamic";

export interface Import {
  readonly specifier: string;
  readonly kind: ImportKind;
  readonly line: number;
}

const statement = /^(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm;
const call = /\b(?:import|require)\(\s*"([^"]+)"\s*,?\s*\)/g;

export function scanImports(text: string): readonly Import[] {
  const code = blankComments(text);
  const found: Import[] = [];
  for (const match of code.matchAll(statement)) {
    const [, typeOnly, specifier = ""] = match;
    const kind = typeOnly === undefined ? "static" : "type";
    found.push({ specifier, kind, line: lineOf(code, match.index) });
  }
  for (const match of code.matchAll(call)) {
    const [whole, specifier = ""] = match;
    const before = code.slice(0, match.index);
    // `typeof import("x")` and `import("x").T` in a type position load nothing; the former is the
    // only spelling we use.
    const isType = /\btypeof\s+$/.test(before);
    const kind = isType ? "type" : whole.startsWith("require") ? "static" : "dynamic";
    found.push({ specifier, kind, line: lineOf(code, match.index) });
  }
  return found;
}

/** Replaces comments by spaces, so that offsets and line numbers stay. Strings are kept. */
export function blankComments(text: string): string {
  const token =
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return text.replace(token, (part) => (part.startsWith("/") ? part.replace(/[^\n]/g, " ") : part));
}

function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}
