/**
 * Holds every import of the project against the table in layers.ts. Pure: sources in, sentences
 * out.
 */
import { posix } from "node:path";
import {
  folders,
  lazyPackages,
  nativeLoaders,
  secondDoors,
  sourceLoaders,
  startUpEntries,
  strangers,
  testDoors,
} from "./layers.ts";
import { type Import, scanImports } from "./scan-imports.ts";

/** Path relative to the project, with slashes → text. */
export type Sources = ReadonlyMap<string, string>;

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export function checkLayers(
  sources: Sources,
  dependencies: ReadonlySet<string>,
): readonly Violation[] {
  const violations: Violation[] = [];
  for (const [file, text] of sources) {
    for (const found of scanImports(text)) {
      const message = found.specifier.startsWith(".")
        ? judgeRelative(file, found)
        : judgePackage(file, found, dependencies);
      if (message !== undefined) violations.push({ file, line: found.line, message });
    }
  }
  return [...violations, ...checkStartUp(sources)];
}

function judgeRelative(file: string, { specifier }: Import): string | undefined {
  const target = posix.normalize(posix.join(posix.dirname(file), specifier));
  if (!/\.(ts|json|mjs)$/.test(target)) {
    return `Cannot import "${specifier}": expected a path that ends in .ts`;
  }
  for (const [here, there] of strangers) {
    if (file.startsWith(here) && target.startsWith(there)) {
      return `${here} may not know ${there}: they meet in vmm-sandbox only`;
    }
  }
  const from = folderOf(file);
  const to = folderOf(target);
  if (from === to) return undefined;
  const allowed = folders[from]?.mayImport ?? [];
  if (!allowed.includes(to)) {
    return `${from || "the root"} may not import ${to || "the root"} ("${specifier}"): imports point down`;
  }
  const isOwnTest = from === "test" && file.startsWith(`test/${to}/`);
  const isGenerator = from === "scripts"; // It writes a folder's files, so it sees the inside.
  const isTestDoor = from === "test" && testDoors.includes(target);
  if (isOwnTest || isGenerator || isTestDoor || isDoor(target, to)) return undefined;
  return `Cannot import "${specifier}" from outside ${to}: expected ${to}/index.ts`;
}

function isDoor(target: string, folder: string): boolean {
  if (folder === "scripts" || folder === "bench") return true; // They have no inside to protect.
  if (folder === "") return true;
  return target === `${folder}/index.ts` || target in secondDoors || target.endsWith(".json");
}

function judgePackage(
  file: string,
  { specifier, kind }: Import,
  dependencies: ReadonlySet<string>,
): string | undefined {
  if (nativeLoaders.includes(specifier) && !/^linux\/[^/]+\.ffi\.ts$/.test(file)) {
    return `Cannot import "${specifier}": only linux/*.ffi.ts load native code`;
  }
  if (/^(node|bun):/.test(specifier) || specifier === "bun") return undefined;
  const shipped = folders[folderOf(file)]?.shipped ?? false;
  if (!shipped || kind === "type") return undefined;
  const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
  if (dependencies.has(name)) return undefined;
  if (kind === "dynamic" && sourceLoaders.includes(specifier)) return undefined;
  return `Cannot import "${specifier}": expected a node: module or one of package.json's dependencies`;
}

/** Follows static imports from each entry point; names the whole chain to a slow package. */
function checkStartUp(sources: Sources): readonly Violation[] {
  const violations: Violation[] = [];
  for (const entry of startUpEntries) {
    const cameFrom = new Map<string, string | undefined>([[entry, undefined]]);
    const queue = sources.has(entry) ? [entry] : [];
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      for (const { specifier, kind, line } of scanImports(sources.get(file) ?? "")) {
        if (kind !== "static") continue;
        if (lazyPackages.includes(specifier)) {
          const chain = pathTo(file, cameFrom).join(" → ");
          const message = `"${specifier}" is slow to load and would be loaded at start-up (${chain}): use import()`;
          violations.push({ file, line, message });
        }
        const target = posix.join(posix.dirname(file), specifier);
        if (!specifier.startsWith(".") || cameFrom.has(target) || !sources.has(target)) continue;
        cameFrom.set(target, file);
        queue.push(target);
      }
    }
  }
  return violations;
}

function pathTo(file: string, cameFrom: ReadonlyMap<string, string | undefined>): string[] {
  const chain: string[] = [];
  for (let at: string | undefined = file; at !== undefined; at = cameFrom.get(at))
    chain.unshift(at);
  return chain;
}

function folderOf(file: string): string {
  const slash = file.indexOf("/");
  return slash < 0 ? "" : file.slice(0, slash);
}
