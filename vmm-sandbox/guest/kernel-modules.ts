/**
 * Which modules of a distribution's kernel must be loaded, and in which order.
 * Format of modules.dep and modules.builtin: kmod's depmod(8), modules.dep(5).
 */
import { AT_FDCWD, O_CLOEXEC, O_RDONLY, type Row } from "../../linux/index.ts";

/** More than any kernel has; a file beyond it is not a modules.dep. */
const MAX_LINES = 100_000;

/** A module that the kernel neither has built in nor offers. */
export class MissingModuleError extends Error {
  override readonly name = "MissingModuleError";
}

/**
 * Paths, relative to the modules' folder, of these modules and all that they need; each after what
 * it depends on. Names are those of modprobe: "-" and "_" are alike.
 */
export function planModules(
  names: readonly string[],
  dependencies: string,
  builtin: string,
): readonly string[] {
  const paths = new Map<string, string>();
  const needs = new Map<string, readonly string[]>();
  for (const [path, ...needed] of parseDependencies(dependencies)) {
    if (path === undefined) continue;
    paths.set(moduleName(path), path);
    needs.set(path, needed);
  }
  const builtinNames = new Set(builtin.split("\n").filter(Boolean).map(moduleName));
  const ordered = new Set<string>();
  for (const name of names) {
    const path = paths.get(moduleName(name));
    if (path === undefined && builtinNames.has(moduleName(name))) continue;
    if (path === undefined)
      throw new MissingModuleError(
        `The kernel has no module "${name}": expected it in modules.dep or modules.builtin`,
      );
    // depmod lists all that a module needs, what is needed most comes last.
    for (const needed of [...(needs.get(path) ?? [])].reverse()) ordered.add(needed);
    ordered.add(path);
  }
  return [...ordered];
}

function parseDependencies(text: string): readonly (readonly string[])[] {
  const lines = text.split("\n");
  if (lines.length > MAX_LINES) throw new RangeError(`modules.dep has over ${MAX_LINES} lines`);
  return lines.filter(Boolean).map((line) => {
    const [path = "", rest = ""] = line.split(":", 2);
    return [path, ...rest.split(" ").filter(Boolean)];
  });
}

function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.ko(\.(xz|zst|gz))?$/, "").replaceAll("-", "_");
}

/** Rows that load modules, in this order: paths as PID 1 sees them. finit_module(2). */
export function loadModules(paths: readonly string[]): readonly Row[] {
  return paths.flatMap((path, index): readonly Row[] => {
    const fd = `module${index}`;
    return [
      { call: "openat", args: [AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0], as: fd },
      { call: "finit_module", args: [{ result: fd }, "", 0], ignore: ["EEXIST"] },
      { call: "close", args: [{ result: fd }] },
    ];
  });
}
