/** The mocha runs that make up the tests: one per folder of test/ and JavaScript engine. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bunExecutable } from "./bun.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Folders whose tests must hold on both engines: they have drivers or adapters for each. */
const alsoOnBun = ["image", "linux", "registry-client"];

/** Tests that wait for real processes may be slow on a busy machine, never this slow. */
const testTimeoutMs = 60_000;

export type Engine = "node" | "bun";

export interface TestGroup {
  readonly folder: string;
  readonly engine: Engine;
  readonly files: readonly string[];
}

export function planGroups(only: readonly string[]): readonly TestGroup[] {
  const folders = readdirSync(join(root, "test"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  const groups: TestGroup[] = [];
  for (const folder of folders) {
    if (only.length > 0 && !only.includes(folder)) continue;
    const files = findTests(join("test", folder));
    if (files.length === 0) continue;
    groups.push({ folder, engine: "node", files });
    if (alsoOnBun.includes(folder)) groups.push({ folder, engine: "bun", files });
  }
  return groups;
}

function findTests(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => join(folder, name))
    .sort();
}

export function mochaCommand(
  { engine, files }: TestGroup,
  more: readonly string[] = [],
): { command: string; args: readonly string[] } {
  const mocha = ["node_modules/mocha/bin/mocha.js", "--no-config"];
  const options = [
    "--reporter",
    "./scripts/mocha-reporter.ts",
    "--timeout",
    `${testTimeoutMs}`,
    ...more,
  ];
  if (engine === "bun") {
    return { command: bunExecutable(), args: ["--bun", ...mocha, ...options, ...files] };
  }
  return {
    command: process.execPath,
    args: ["--import", "tsx", ...mocha, ...options, ...files],
  };
}
