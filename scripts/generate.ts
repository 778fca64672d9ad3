/**
 * Writes the generated files. `npm run generate` reproduces them byte for byte; a test checks that
 * what is committed is what this makes.
 */
import { writeFileSync } from "node:fs";
import { encodeSeccomp } from "../runtime/seccomp/compile.ts";
import { dockerSeccompProfile } from "../runtime/seccomp/default-profile.ts";
import { compiledBeforehand } from "../runtime/seccomp/docker-filter.ts";
import { assembleInterpreter } from "./interpreter-x86-64.ts";
import { assembleProbe } from "./probe-x86-64.ts";

const bytesPerLine = 32;
const base64PerLine = 88;

/** Path below the repository → content. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["linux/generated/interpreter-x86-64.ts", interpreterModule()],
    ["runtime/generated/docker-seccomp.ts", seccompModule()],
    ["compare/generated/probe-x86-64.ts", probeModule()],
  ]);
}

function interpreterModule(): string {
  const { code, labels } = assembleInterpreter();
  const offset = (label: string) => {
    const value = labels.get(label);
    if (value === undefined) throw new Error(`The interpreter has no label "${label}"`);
    return value;
  };
  return [
    "// Made by `npm run generate` from scripts/interpreter-x86-64.ts. Do not edit.",
    "/** Machine code of the syscall-program interpreter and where its functions start, in bytes. */",
    "export const interpreterX86_64 = {",
    "  hex:",
    `${hexLines(code)},`,
    `  syscall: ${offset("syscall")},`,
    `  interpret: ${offset("interpret")},`,
    `  freeze: ${offset("freeze")},`,
    `  start: ${offset("start")},`,
    `  block: ${offset("block")},`,
    "} as const;",
    "",
  ].join("\n");
}

function probeModule(): string {
  const { code, start, dataBytes } = assembleProbe();
  return [
    "// Made by `npm run generate` from scripts/probe-x86-64.ts. Do not edit.",
    "/** Machine code of the probe, where it starts, and how much memory it wants, in bytes. */",
    "export const probeX86_64 = {",
    "  hex:",
    `${hexLines(code)},`,
    `  start: ${start},`,
    `  dataBytes: ${dataBytes},`,
    "} as const;",
    "",
  ].join("\n");
}

function hexLines(code: Uint8Array): string {
  const hex = Buffer.from(code).toString("hex");
  const lines = hex.match(new RegExp(`.{1,${bytesPerLine * 2}}`, "g")) ?? [];
  return lines.map((line) => `    "${line}"`).join(" +\n");
}

function seccompModule(): string {
  const rows = compiledBeforehand.map((capabilities) => {
    const { code } = encodeSeccomp(dockerSeccompProfile(capabilities));
    const base64 = Buffer.from(code).toString("base64");
    const lines = base64.match(new RegExp(`.{1,${base64PerLine}}`, "g")) ?? [];
    const text = lines.map((line) => `    "${line}"`).join(" +\n");
    return `  ${JSON.stringify(capabilities.join(" "))}:\n${text},`;
  });
  return [
    "// Made by `npm run generate` from runtime/seccomp/default-profile.ts. Do not edit.",
    "/** docker's default profile as classic BPF, by the capabilities that it depends on; base64. */",
    "export const dockerSeccompFilters: Readonly<Record<string, string>> = {",
    ...rows,
    "};",
    "",
  ].join("\n");
}

if (process.argv[1]?.endsWith("generate.ts"))
  for (const [path, content] of generatedFiles())
    writeFileSync(new URL(`../${path}`, import.meta.url), content);
