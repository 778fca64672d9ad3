/**
 * `npm run imports`: the rules of the house that neither Biome nor tsc can know. The rules are in
 * house/; this file reads the sources and prints what breaks them.
 */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { checkLayers, type Violation } from "./house/check-layers.ts";
import { checkStyle } from "./house/check-style.ts";
import { projectFiles } from "./house/project-files.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

function main(): number {
  const files = projectFiles();
  const sources = new Map<string, string>();
  for (const file of files) {
    if (file.endsWith(".ts")) sources.set(file, readFileSync(`${root}${file}`, "utf8"));
  }
  const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as {
    dependencies: Readonly<Record<string, string>>;
  };
  const readmes = new Set(files.filter((file) => file.endsWith("README.md")));
  const violations = [
    ...checkLayers(sources, new Set(Object.keys(dependencies))),
    ...checkStyle(sources, readmes),
  ];
  for (const violation of violations) console.error(format(violation));
  const verdict = violations.length === 0 ? "no rule broken" : `${violations.length} rules broken`;
  console.error(`${sources.size} files, ${verdict}`);
  return violations.length === 0 ? 0 : 1;
}

function format({ file, line, message }: Violation): string {
  return `${file}:${line}: ${message}`;
}

process.exitCode = main();
