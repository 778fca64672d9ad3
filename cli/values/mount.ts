/** docker's three spellings of a mount: -v SOURCE:TARGET[:OPTIONS], --mount KEY=VALUE,…, --tmpfs. */
import { homedir } from "node:os";
import { normalize, resolve } from "node:path";
import type { BindMount, MountOption, Propagation, TmpfsMount } from "../../engine/index.ts";
import { parseBytes } from "./scalar.ts";

const propagations = ["private", "rprivate", "shared", "rshared", "slave", "rslave"] as const;

/** Options after the second colon that change nothing here: labels and macOS consistency. */
const ignored = new Set(["rw", "z", "Z", "consistent", "cached", "delegated", "nocopy", "rbind"]);

/** -v. A relative source that starts with "." or "~" is taken from the working directory. */
export function parseVolume(text: string): BindMount {
  const parts = text.split(":");
  const [source, target, options, ...rest] = parts;
  if (parts.length < 2 || rest.length > 0 || !source || !target) {
    throw new SyntaxError("expected HOST-PATH:CONTAINER-PATH[:OPTIONS]");
  }
  if (!/^[/.~]/.test(source)) {
    throw new SyntaxError(
      `"${source}" is the name of a volume, and volumes come later: expected a path, such as "./${source}"`,
    );
  }
  const bind = { type: "bind", source: hostPath(source), target: absolute(target) } as const;
  return { ...bind, createSource: true, ...volumeOptions(options) };
}

function volumeOptions(options: string | undefined): Partial<BindMount> {
  let found: Partial<BindMount> = {};
  for (const option of options === undefined ? [] : options.split(",")) {
    if (option === "ro") found = { ...found, readOnly: true };
    else if (option === "bind") found = { ...found, nonRecursive: true };
    else if (isPropagation(option)) found = { ...found, propagation: option };
    else if (!ignored.has(option)) {
      throw new SyntaxError(`expected ro, rw or a propagation, got "${option}"`);
    }
  }
  return found;
}

/** --mount: comma separated, a value with a comma in double quotes (CSV, as docker reads it). */
export function parseMount(text: string): MountOption {
  const given = new Map<string, string>();
  for (const field of csv(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    given.set(canonical(key), equals < 0 ? "true" : field.slice(equals + 1));
  }
  const type = given.get("type") ?? "volume";
  const target = given.get("target");
  if (target === undefined) throw new SyntaxError("expected target=PATH");
  if (type === "bind") return bindMount(given, absolute(target));
  if (type === "tmpfs") return tmpfsMount(given, absolute(target));
  if (type === "volume") throw new SyntaxError("volumes come later: expected type=bind or tmpfs");
  throw new SyntaxError(`expected type=bind or type=tmpfs, got "${type}"`);
}

function canonical(key: string): string {
  if (key === "src") return "source";
  if (key === "dst" || key === "destination") return "target";
  return key === "ro" ? "readonly" : key;
}

const bindKeys = ["type", "source", "target", "readonly", "bind-propagation"];
const bindExtra = ["bind-nonrecursive", "bind-recursive", "bind-create-src", "consistency"];

function bindMount(given: ReadonlyMap<string, string>, target: string): BindMount {
  onlyKeys(given, [...bindKeys, ...bindExtra]);
  const source = given.get("source");
  if (source === undefined) throw new SyntaxError("expected source=PATH with type=bind");
  const propagation = given.get("bind-propagation");
  if (propagation !== undefined && !isPropagation(propagation)) {
    throw new SyntaxError(`expected bind-propagation=${propagations.join("|")}`);
  }
  const flat = isTrue(given, "bind-nonrecursive") || given.get("bind-recursive") === "disabled";
  return {
    type: "bind",
    source: hostPath(source),
    target,
    ...(isTrue(given, "readonly") && { readOnly: true }),
    ...(flat && { nonRecursive: true }),
    ...(isTrue(given, "bind-create-src") && { createSource: true }),
    ...(propagation !== undefined && { propagation }),
  };
}

function tmpfsMount(given: ReadonlyMap<string, string>, target: string): TmpfsMount {
  onlyKeys(given, ["type", "target", "readonly", "tmpfs-size", "tmpfs-mode"]);
  const size = given.get("tmpfs-size");
  const mode = given.get("tmpfs-mode");
  return {
    type: "tmpfs",
    target,
    ...(isTrue(given, "readonly") && { readOnly: true }),
    ...(size !== undefined && { sizeBytes: parseBytes(size) }),
    ...(mode !== undefined && { mode: parseMode(mode) }),
  };
}

/** --tmpfs PATH[:OPTIONS]. */
export function parseTmpfs(text: string): TmpfsMount {
  const colon = text.indexOf(":");
  const target = absolute(colon < 0 ? text : text.slice(0, colon));
  const options: string[] = [];
  let found: Omit<TmpfsMount, "options"> = { type: "tmpfs", target };
  for (const option of colon < 0 ? [] : text.slice(colon + 1).split(",")) {
    const [key, value] = option.split("=", 2);
    if (key === "size" && value !== undefined && !value.endsWith("%")) {
      found = { ...found, sizeBytes: parseBytes(value) };
    } else if (key === "mode" && value !== undefined) found = { ...found, mode: parseMode(value) };
    else if (option === "ro") found = { ...found, readOnly: true };
    else if (option !== "" && option !== "rw") options.push(option);
  }
  return options.length === 0 ? found : { ...found, options };
}

/** --device SOURCE[:TARGET][:rwm]. */
export function parseDevice(text: string): { source: string; target: string; access: string } {
  const parts = text.split(":");
  const [source, second, third] = parts;
  if (!source || parts.length > 3) throw new SyntaxError("expected HOST[:CONTAINER][:rwm]");
  const isAccess = (word: string | undefined): boolean => /^[rwm]+$/.test(word ?? "");
  const access = third ?? (isAccess(second) ? second : undefined) ?? "rwm";
  const target =
    second === undefined || (third === undefined && isAccess(second)) ? source : second;
  if (!isAccess(access)) throw new SyntaxError(`expected r, w and m, got "${access}"`);
  return { source: absolute(source), target: absolute(target), access };
}

function onlyKeys(given: ReadonlyMap<string, string>, known: readonly string[]): void {
  for (const key of given.keys()) {
    if (!known.includes(key)) {
      throw new SyntaxError(`expected ${known.slice(1).join(", ")}, got "${key}"`);
    }
  }
}

function isTrue(given: ReadonlyMap<string, string>, key: string): boolean {
  const value = given.get(key);
  if (value === undefined || value === "false" || value === "0") return false;
  if (value === "true" || value === "1") return true;
  throw new SyntaxError(`expected ${key}=true or ${key}=false`);
}

function parseMode(text: string): number {
  if (!/^[0-7]{1,5}$/.test(text)) throw new SyntaxError("expected an octal mode such as 1777");
  return Number.parseInt(text, 8);
}

function isPropagation(text: string): text is Propagation {
  return (propagations as readonly string[]).includes(text);
}

function hostPath(text: string): string {
  if (text === "~" || text.startsWith("~/")) return resolve(homedir(), `.${text.slice(1)}`);
  return resolve(text);
}

function absolute(text: string): string {
  if (!text.startsWith("/")) throw new SyntaxError(`expected an absolute path, got "${text}"`);
  const path = normalize(text);
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** One line of CSV: fields may be quoted whole, quotes inside doubled. */
function csv(line: string): string[] {
  const fields: string[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",]*))(?:,|$)/gy;
  for (let at = 0; at <= line.length; ) {
    field.lastIndex = at;
    const match = field.exec(line);
    if (match === null) throw new SyntaxError("expected comma separated KEY=VALUE pairs");
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
    if (field.lastIndex === line.length && !match[0].endsWith(",")) break;
    at = field.lastIndex;
  }
  return fields;
}
