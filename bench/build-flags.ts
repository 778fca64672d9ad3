/**
 * Start-up of the executable as each way of compiling it would give; the choice is recorded in
 * docs/decisions/010-one-executable.md.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundleEntry, executableFlags, workerEntries } from "../scripts/build.ts";
import { bunExecutable } from "../scripts/bun.ts";
import { measure } from "./measure.ts";
import { type Bench, type BenchOptions, type Report, roundsOf } from "./report.ts";

export const bench: Bench = { name: "build-flags", title: "Ways of compiling the executable", run };

const root = fileURLToPath(new URL("..", import.meta.url));
/** Name → flags left out of the ones in use, and flags added. */
// biome-ignore format: table
const variants: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ["as built",                  [],                                            []],
  ["without splitting",         ["--splitting"],                               []],
  ["without bytecode",          ["--bytecode"],                                []],
  ["with neither",              ["--bytecode", "--splitting"],                 []],
  ["without minify",            ["--minify"],                                  []],
  ["with --smol",               [],                          ["--compile-exec-argv=--smol"]],
  ["JIT as by default",         ["--compile-jit-policy=10"],                   []],
  ["reading .env, bunfig, …",   executableFlags.filter((flag) => flag.startsWith("--no-")),  []],
];

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const rounds = roundsOf(30, options);
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-flags-"));
  try {
    const entry = await bundleEntry();
    const notes: string[] = [];
    const built: { name: string; file: string }[] = [];
    for (const [index, [name, without, added]] of variants.entries()) {
      const file = join(directory, `variant-${index}`);
      const flags = [...executableFlags.filter((flag) => !without.includes(flag)), ...added];
      const args = ["build", ...flags, entry, ...workerEntries(), "--outfile", file];
      const { status, stderr } = spawnSync(bunExecutable(), args, { cwd: root, encoding: "utf8" });
      if (status !== 0) {
        notes.push(`${name}: does not build: ${stderr.trim().split("\n").at(-1)}`);
        continue;
      }
      notes.push(`${name}: ${(statSync(file).size / 2 ** 20).toFixed(1)} MiB`);
      built.push({ name, file });
    }
    const reports: Report[] = [];
    for (const args of [["version"], ["run", "--help"], ["oci", "--version"]]) {
      const candidates = built.map(({ name, file }) => ({ name, command: [file, ...args] }));
      const measured = await measure(candidates, { rounds, warmups: 2 });
      const title = `manyworlds ${args.join(" ")}, by way of compiling`;
      reports.push({
        title,
        rounds,
        measured,
        goals: [],
        notes: reports.length === 0 ? notes : [],
      });
    }
    return reports;
  } finally {
    rmSync(directory, { recursive: true });
  }
}
