/**
 * What depmod(8) would write, for a kernel package that was only unpacked: each module says in its
 * section .modinfo which others it needs (linux/module.h, "depends=").
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const MAX_FILES = 20_000;
const MAX_WANTED = 200;

/** Lines of a modules.dep for these modules and all that they need. */
export function readModuleDependencies(folder: string, wanted: readonly string[]): string {
  const files = listModules(folder);
  const lines = new Map<string, string>();
  const visit = (name: string): readonly string[] => {
    const path = files.get(name);
    if (path === undefined) return []; // built in, or missing: whoever plans says which
    const known = lines.get(path);
    if (known !== undefined || lines.size > MAX_WANTED) return [path];
    lines.set(path, ""); // modules do not need each other in circles, but files may lie
    const below = dependsOf(join(folder, path)).flatMap((needed) => [
      normalize(needed),
      ...namesBelow(needed),
    ]);
    const paths = [...new Set(below)].flatMap((needed) => visit(needed));
    lines.set(path, `${path}: ${[...new Set(paths)].join(" ")}`);
    return [path];
  };
  const namesBelow = (name: string): readonly string[] => {
    const path = files.get(normalize(name));
    return path === undefined
      ? []
      : dependsOf(join(folder, path)).flatMap((needed) => [
          normalize(needed),
          ...namesBelow(needed),
        ]);
  };
  for (const name of wanted) visit(normalize(name));
  return [...lines.values()].filter((line) => line !== "").join("\n");
}

/** Module names, "-" and "_" being alike, and their paths below the folder. */
function listModules(folder: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const queue = ["kernel"];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const entry of readdirSync(join(folder, next), { withFileTypes: true })) {
      const path = `${next}/${entry.name}`;
      if (entry.isDirectory()) queue.push(path);
      else if (/\.ko(\.\w+)?$/.test(entry.name))
        found.set(normalize(entry.name.replace(/\.ko(\.\w+)?$/, "")), path);
      if (found.size > MAX_FILES) return found;
    }
  }
  return found;
}

function dependsOf(path: string): readonly string[] {
  if (!path.endsWith(".ko")) return [];
  const text = readFileSync(path).toString("latin1");
  const at = text.indexOf("\0depends=");
  if (at < 0) return [];
  const start = at + "\0depends=".length;
  return text.slice(start, text.indexOf("\0", start)).split(",").filter(Boolean);
}

function normalize(name: string): string {
  return name.replaceAll("-", "_");
}
