/**
 * The rules of the style guide that a glance at a file's name and text can check: length, names,
 * a header comment, a README in each folder. Biome and tsc check the rest.
 */
import type { Sources, Violation } from "./check-layers.ts";
import { longFiles, vagueFiles } from "./debts.ts";
import { folders } from "./layers.ts";
import { blankComments } from "./scan-imports.ts";

const maxLines = 400;
/** Tests are rows of cases for the most part. */
const maxTestLines = 600;

/** Files that are one table each, of the kernel's numbers or of a specification's fields. */
const tableFiles: readonly string[] = [
  "linux/constants.ts",
  "linux/syscalls.ts",
  "oci/runtime-config.ts",
  "vmm-sandbox/translator/isa/table.ts",
];

/** Folders that `run` and `oci` load; docs/decisions/012-streams-by-descriptor.md has the price. */
/** engine/vm is loaded after the decision to boot a machine, which takes longer than that. */
const startUpFolders = /^(linux|oci|runtime|image|engine(?!\/vm\/))\//;
const streamObjects = /\bprocess\.(stdin|stdout|stderr)\b/;

const vagueNames = /^(utils?|helpers?|common|misc|lib|manager|info)\.ts$/;

export function checkStyle(sources: Sources, readmes: ReadonlySet<string>): readonly Violation[] {
  const violations: Violation[] = [];
  const seen = new Set<string>();
  for (const [file, text] of sources) {
    for (const { line, message } of judgeFile(file, text)) {
      violations.push({ file, line, message });
    }
    const folder = file.split("/", 1)[0] ?? "";
    if (file.includes("/") && folder in folders) seen.add(folder);
  }
  for (const folder of seen) {
    if (folder === "test" || readmes.has(`${folder}/README.md`)) continue;
    const message = "Expected a README.md that explains the folder's ideas";
    violations.push({ file: `${folder}/README.md`, line: 1, message });
  }
  return violations;
}

function judgeFile(file: string, text: string): readonly { line: number; message: string }[] {
  const found: { line: number; message: string }[] = [];
  const name = file.slice(file.lastIndexOf("/") + 1);
  if (isGenerated(file)) return found;
  if (vagueNames.test(name) && !vagueFiles.includes(file)) {
    found.push({ line: 1, message: `"${name}" says nothing: expected the name of its subject` });
  }
  if (!/^[a-z0-9]+([-.][a-z0-9_]+)*\.ts$/.test(name)) {
    found.push({ line: 1, message: `"${name}" is no kebab-case name` });
  }
  const lines = text.split("\n");
  const length = lines.length - 1 - tableLines(lines);
  const limit = longFiles[file] ?? (file.startsWith("test/") ? maxTestLines : maxLines);
  if (length > limit && !tableFiles.includes(file)) {
    const message = `${length} lines outside tables: expected at most ${limit}`;
    found.push({ line: limit, message });
  }
  const streams = startUpFolders.test(file)
    ? lineThatMatches(blankComments(text), streamObjects)
    : 0;
  if (streams > 0) {
    const message =
      "process.stdin, stdout and stderr cost 10 ms at start-up: use descriptors 0, 1, 2";
    found.push({ line: streams, message });
  }
  const isTest = name.endsWith(".test.ts");
  if (!isTest && !/^(#!.*\n)?(\/\/ biome-ignore-all.*\n)*\/[/*]/.test(text)) {
    found.push({ line: 1, message: "Expected a header comment that says what the file is for" });
  }
  return found;
}

/** Number of the first line that matches, or 0. */
function lineThatMatches(text: string, pattern: RegExp): number {
  return text.split("\n").findIndex((line) => pattern.test(line)) + 1;
}

function isGenerated(file: string): boolean {
  return /(^|\/)(generated|golden|fixtures)\//.test(file);
}

/** Lines of literals marked "biome-ignore format: table", each up to the line that closes it. */
function tableLines(lines: readonly string[]): number {
  let count = 0;
  for (let start = 0; start < lines.length; start++) {
    if (!/^\s*\/\/ biome-ignore format: table/.test(lines[start] ?? "")) continue;
    const indent = /^\s*/.exec(lines[start] ?? "")?.[0].length ?? 0;
    const closing = new RegExp(`^ {0,${indent}}[\\]})]`);
    let end = start + 1;
    while (end < lines.length && !closing.test(lines[end] ?? "")) end++;
    count += end - start;
    start = end;
  }
  return count;
}
