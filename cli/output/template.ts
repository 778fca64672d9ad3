/**
 * The part of Go's text/template that docker's --format is used for:
 *
 *   {{.Field}} {{.A.B}} {{json .}} {{json .Field}} {{index .Map "key"}} {{range .List}}…{{end}}
 *   {{if .X}}…{{else}}…{{end}} {{join .List ","}} {{upper .X}} {{lower .X}} {{title .X}}
 *   {{len .X}} {{println .X}} {{printf "%s" .X}} {{range $k, $v := .Map}} {{- trim -}} pipes
 *
 * https://pkg.go.dev/text/template and docker's functions, https://docs.docker.com/engine/cli/formatting/
 */
import { callFunction, isTrue, show, TemplateError } from "./template-functions.ts";

export { TemplateError } from "./template-functions.ts";

type Node =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "print"; readonly pipe: readonly Call[]; readonly set?: string }
  | {
      readonly kind: "if" | "range" | "with";
      readonly pipe: readonly Call[];
      readonly names: readonly string[];
      readonly body: readonly Node[];
      readonly otherwise: readonly Node[];
    };
type Call = readonly Operand[];
type Operand =
  | { readonly kind: "field"; readonly from?: string; readonly path: readonly string[] }
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "word"; readonly word: string }
  | { readonly kind: "pipe"; readonly pipe: readonly Call[] };

export type Template = (data: unknown) => string;

const TEMPLATE_LIMIT = 64 * 1024; // longer than any command line that a person writes
const NESTING_LIMIT = 64;

/** Compiles a template. Throws TemplateError when it cannot be understood. */
export function parseTemplate(text: string): Template {
  if (text.length > TEMPLATE_LIMIT) throw new TemplateError("expected at most 64 KiB");
  const unescaped = text.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
  const reader = new Reader(splitActions(unescaped));
  const nodes = reader.block(0);
  if (reader.ended !== "") throw new TemplateError(`"{{${reader.ended}}}" has no beginning`);
  return (data) => render(nodes, data, new Map([["$", data]]));
}

interface Piece {
  readonly action: boolean;
  readonly text: string;
}

/** Alternates text and actions; "{{-" and "-}}" eat the white space beside them. */
function splitActions(text: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  let trimNext = false;
  while (at <= text.length) {
    const open = text.indexOf("{{", at);
    let literal = text.slice(at, open < 0 ? text.length : open);
    if (trimNext) literal = literal.trimStart();
    if (open < 0) {
      pieces.push({ action: false, text: literal });
      break;
    }
    const close = text.indexOf("}}", open);
    if (close < 0) throw new TemplateError('"{{" has no "}}"');
    let action = text.slice(open + 2, close);
    if (/^-\s/.test(action)) {
      literal = literal.trimEnd();
      action = action.slice(1);
    }
    trimNext = /\s-$/.test(action);
    if (trimNext) action = action.slice(0, -1);
    pieces.push({ action: false, text: literal }, { action: true, text: action.trim() });
    at = close + 2;
  }
  return pieces;
}

class Reader {
  readonly #pieces: readonly Piece[];
  #at = 0;
  /** The action that ended the last block: "end", "else", or "" at the end of the text. */
  ended = "";

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces;
  }

  block(depth: number): Node[] {
    if (depth > NESTING_LIMIT) throw new TemplateError(`expected at most ${NESTING_LIMIT} levels`);
    const nodes: Node[] = [];
    for (let piece = this.#pieces[this.#at++]; piece; piece = this.#pieces[this.#at++]) {
      if (!piece.action) {
        if (piece.text !== "") nodes.push({ kind: "text", text: piece.text });
        continue;
      }
      const [word = ""] = piece.text.split(/\s/, 1);
      if (word === "end" || word === "else") {
        this.ended = piece.text;
        return nodes;
      }
      if (piece.text.startsWith("/*")) continue;
      if (word === "if" || word === "range" || word === "with") {
        nodes.push(this.#branch(word, piece.text.slice(word.length), depth));
      } else nodes.push(parsePrint(piece.text));
    }
    this.ended = "";
    return nodes;
  }

  #branch(kind: "if" | "range" | "with", head: string, depth: number): Node {
    const { names, pipe } = parseHead(head);
    const body = this.block(depth + 1);
    let otherwise: Node[] = [];
    const chained = /^else\s+(if|with)\b(.*)$/s.exec(this.ended);
    if (chained !== null) {
      // SAFE: the pattern allows only these two words
      otherwise = [this.#branch(chained[1] as "if" | "with", chained[2] ?? "", depth + 1)];
    } else {
      if (this.ended === "else") otherwise = this.block(depth + 1);
      if (this.ended !== "end") throw new TemplateError(`"{{${kind}}}" has no "{{end}}"`);
    }
    return { kind, names, pipe, body, otherwise };
  }
}

function parsePrint(text: string): Node {
  const { names, pipe } = parseHead(text);
  const [set] = names;
  return set === undefined ? { kind: "print", pipe } : { kind: "print", pipe, set };
}

function parseHead(text: string): { names: readonly string[]; pipe: readonly Call[] } {
  const match = /^\s*(\$\w*(?:\s*,\s*\$\w*)?)\s*:?=(.*)$/s.exec(text);
  const names = match?.[1]?.split(",").map((name) => name.trim()) ?? [];
  const tokens = tokenize(match?.[2] ?? text);
  const pipe = parsePipe(tokens);
  if (tokens.length > 0) throw new TemplateError(`"${tokens[0]}" is not expected here`);
  return { names, pipe };
}

function tokenize(text: string): string[] {
  const token =
    /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[$]?\w*(?:\.\w+)+|\$\w*|\.|-?\d+(?:\.\d+)?|\w+|[()|])/gy;
  const tokens: string[] = [];
  let end = 0;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    tokens.push(match[1] ?? "");
    end = token.lastIndex;
  }
  if (text.slice(end).trim() !== "") {
    throw new TemplateError(`"${text.slice(end).trim()}" is not understood`);
  }
  return tokens;
}

function parsePipe(tokens: string[], depth = 0): Call[] {
  if (depth > NESTING_LIMIT) throw new TemplateError(`expected at most ${NESTING_LIMIT} levels`);
  const calls: Operand[][] = [[]];
  for (let token = tokens[0]; token !== undefined && token !== ")"; token = tokens[0]) {
    tokens.shift();
    if (token === "|") calls.push([]);
    else if (token === "(") {
      calls.at(-1)?.push({ kind: "pipe", pipe: parsePipe(tokens, depth + 1) });
      if (tokens.shift() !== ")") throw new TemplateError('"(" has no ")"');
    } else calls.at(-1)?.push(parseOperand(token));
  }
  if (calls.some((call) => call.length === 0)) throw new TemplateError("an action is empty");
  return calls;
}

function parseOperand(token: string): Operand {
  if (token.startsWith('"')) return { kind: "value", value: parseString(token) };
  if (token.startsWith("`")) return { kind: "value", value: token.slice(1, -1) };
  if (/^-?\d/.test(token)) return { kind: "value", value: Number(token) };
  if (token === ".") return { kind: "field", path: [] };
  if (token.startsWith(".")) return { kind: "field", path: token.slice(1).split(".") };
  if (token.startsWith("$")) {
    const [from = "$", ...path] = token.split(".");
    return { kind: "field", from, path };
  }
  if (token === "true" || token === "false") return { kind: "value", value: token === "true" };
  if (token === "nil") return { kind: "value", value: null };
  return { kind: "word", word: token };
}

function parseString(token: string): string {
  try {
    return JSON.parse(token) as string;
  } catch {
    throw new TemplateError(`${token} is no string`);
  }
}

type Names = Map<string, unknown>;

function render(nodes: readonly Node[], data: unknown, names: Names): string {
  return nodes.map((node) => renderNode(node, data, names)).join("");
}

function renderNode(node: Node, data: unknown, names: Names): string {
  if (node.kind === "text") return node.text;
  const value = evaluate(node.pipe, data, names);
  if (node.kind === "print") {
    if (node.set === undefined) return show(value);
    names.set(node.set, value);
    return "";
  }
  const inner: Names = new Map(names);
  if (node.kind !== "range") {
    for (const name of node.names) inner.set(name, value);
    const below = node.kind === "with" && isTrue(value) ? value : data;
    return render(isTrue(value) ? node.body : node.otherwise, below, inner);
  }
  const entries = entriesOf(value);
  if (entries.length === 0) return render(node.otherwise, data, inner);
  return entries
    .map(([key, item]) => {
      const [first, second] = node.names;
      if (second !== undefined) inner.set(second, item);
      if (first !== undefined) inner.set(first, second === undefined ? item : key);
      return render(node.body, item, inner);
    })
    .join("");
}

/** What `range` walks: lists in order, maps by sorted key. */
function entriesOf(value: unknown): [unknown, unknown][] {
  if (Array.isArray(value)) return [...value.entries()];
  if (value === null || value === undefined) return [];
  if (typeof value !== "object")
    throw new TemplateError(`cannot range over ${JSON.stringify(value)}`);
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}

function evaluate(pipe: readonly Call[], data: unknown, names: Names): unknown {
  let piped: unknown[] = [];
  for (const [head, ...rest] of pipe) {
    const args = [...rest.map((operand) => operandValue(operand, data, names)), ...piped];
    if (head?.kind === "word") piped = [callFunction(head.word, args)];
    else if (head === undefined || args.length > 0) throw new TemplateError("expected a function");
    else piped = [operandValue(head, data, names)];
  }
  return piped[0];
}

function operandValue(operand: Operand, data: unknown, names: Names): unknown {
  switch (operand.kind) {
    case "value":
      return operand.value;
    case "pipe":
      return evaluate(operand.pipe, data, names);
    case "word":
      return callFunction(operand.word, []);
    case "field": {
      if (operand.from !== undefined && !names.has(operand.from)) {
        throw new TemplateError(`"${operand.from}" is not defined`);
      }
      return walk(operand.from === undefined ? data : names.get(operand.from), operand.path);
    }
    default:
      return operand satisfies never;
  }
}

function walk(start: unknown, path: readonly string[]): unknown {
  let value = start;
  for (const name of path) {
    if (value === null || value === undefined) return undefined;
    if (typeof value !== "object" || !Object.hasOwn(value, name)) {
      throw new TemplateError(`there is no field "${name}"${known(value)}`);
    }
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

function known(value: unknown): string {
  if (typeof value !== "object" || value === null) return "";
  const names = Object.keys(value).slice(0, 40);
  return names.length === 0 ? "" : `; known fields: ${names.join(", ")}`;
}
