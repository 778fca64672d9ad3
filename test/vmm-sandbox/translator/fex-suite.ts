/**
 * Runs FEX-Emu's assembler tests (https://github.com/FEX-Emu/FEX, unittests/ASM and 32Bit_ASM) on
 * the software CPU. Each is a NASM source that says in JSON which registers it expects at its HLT.
 *
 *   tsx fex-suite.ts UNITTESTS_FOLDER [interpreter|jit] [part of a path]
 *
 * The folder is a checkout made elsewhere; nasm must be installed. Prints what fails and a table; what
 * fails as fex-exceptions.ts says is not ours. Exits with 1 when anything else fails.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { BareCpu } from "./bare-cpu.ts";
import { exceptionFor } from "./fex-exceptions.ts";

type Config = {
  readonly RegData?: Readonly<Record<string, string | readonly string[]>>;
  readonly MemoryRegions?: Readonly<Record<string, string>>;
  readonly MemoryData?: Readonly<Record<string, string>>;
  readonly HostFeatures?: readonly string[];
  readonly Mode?: string;
  readonly Env?: Readonly<Record<string, string>>;
};

/** Features that our CPUID offers; tests of any other are not ours. */
const offered = new Set(["SSE4.1", "SSSE3", "SSE4.2"]);
const names = "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15".split(" ");
const codeAt = 0x1_0000;
const stack = { at: 0xc000_0000, bytes: 0x10_0000 } as const;
const data = [
  { at: 0xe000_0000, bytes: 0x1_0000 },
  { at: 0xe7ff_f000, bytes: 0x2000 },
] as const;

const [, , root = "", tier = "interpreter", only = ""] = process.argv;
if (root === "") throw new Error("Cannot run FEX's tests: expected the folder of its unittests");
const folder = mkdtempSync(join(tmpdir(), "fex-"));
const cpu = new BareCpu({ ramBytes: 64 << 20, hotThreshold: tier === "jit" ? 1 : 2 ** 30 });

function configOf(source: string): Config | undefined {
  const match = /%ifdef CONFIG\s+([\s\S]*?)%endif/.exec(source);
  if (!match) return undefined;
  // Comments and trailing commas are not JSON.
  const text = (match[1] as string).replace(/\/\/.*$/gm, "").replace(/,(\s*[}\]])/g, "$1");
  return JSON.parse(text.replace(/"(0x[0-9a-f_]+)"/gi, (hex) => hex.replaceAll("_", ""))) as Config;
}

function assemble(source: string, is32: boolean): Uint8Array {
  const file = join(folder, "test.asm");
  // What FEX's own build puts before its 32-bit tests.
  const head = is32 ? "BITS 32\norg 10000h\nmov eax, 0x17\nmov ds, ax\nmov es, ax" : "BITS 64";
  writeFileSync(file, `${head}\n${source}`);
  const out = join(folder, "test.bin");
  const includes = `${join(root, "ASM/Includes")}/`;
  execFileSync("nasm", ["-w-all", "-i", includes, file, "-f", "bin", "-o", out], { stdio: "pipe" });
  return readFileSync(out);
}

/** What is wrong, or undefined. */
function run(code: Uint8Array, config: Config): string | undefined {
  const is32 = config.Mode === "32BIT";
  cpu.reset(is32 ? 32 : 64);
  cpu.map(codeAt, Math.max(code.length, 1) + 4096);
  cpu.map(stack.at, stack.bytes);
  for (const { at, bytes } of data) cpu.map(at, bytes);
  for (const [at, bytes] of Object.entries(config.MemoryRegions ?? {}))
    cpu.map(Number(at), Number(bytes));
  for (const [at, text] of Object.entries(config.MemoryData ?? {}))
    cpu.write(Number(at), dataOf(text));
  cpu.write(codeAt, code);
  cpu.write(codeAt + code.length, Uint8Array.of(0xf4));
  cpu.setGeneral(4, BigInt(stack.at + stack.bytes));
  const fault = cpu.run(codeAt, 5_000_000);
  if (fault !== undefined) return fault;
  const problems: string[] = [];
  for (const [name, expected] of Object.entries(config.RegData ?? {})) {
    const wanted = (typeof expected === "string" ? [expected] : expected).map((v) =>
      BigInt.asUintN(64, BigInt(v)),
    );
    const got = valuesOf(name, wanted.length);
    if (!got) return `test expects "${name}"`;
    if (got.some((value, i) => value !== wanted[i]))
      problems.push(`${name} ${got.map(hex).join(":")} expected ${wanted.map(hex).join(":")}`);
  }
  return problems.length > 0 ? problems.join("; ") : undefined;
}

/** "AABB CC": bytes in order of their addresses. "0x…": a little-endian number. */
function dataOf(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const digits = word.replace(/^0x/, "");
    const pairs = digits.match(/../g) ?? [];
    bytes.push(...(word.startsWith("0x") ? pairs.reverse() : pairs).map((p) => Number(`0x${p}`)));
  }
  return Uint8Array.from(bytes);
}

function valuesOf(name: string, count: number): bigint[] | undefined {
  const general = names.indexOf(name.toUpperCase());
  if (general >= 0) return [cpu.general(general)];
  const xmm = /^XMM(\d+)$/.exec(name);
  if (xmm) return cpu.vector(Number(xmm[1])).slice(0, count);
  const mm = /^MM(\d)$/.exec(name);
  return mm ? cpu.mmx(Number(mm[1])).slice(0, count) : undefined;
}

const hex = (value: bigint): string => value.toString(16);

const totals = new Map<string, { passed: number; failed: number; skipped: number }>();
const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith(".asm"))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
  .filter((file) => file.includes(only) && /ASM/.test(file))
  .sort();
for (const file of files) {
  const name = relative(root, file);
  const group = name
    .split("/")
    .slice(0, 2)
    .join("/")
    .replace(/\/[^/]*\.asm$/, "");
  const total = totals.get(group) ?? { passed: 0, failed: 0, skipped: 0 };
  totals.set(group, total);
  if (process.env["TRACE"]) console.error(name);
  const source = readFileSync(file, "latin1");
  try {
    const config = configOf(source);
    // Reduced precision is FEX's own mode of x87, not the processor's.
    const foreign = config?.HostFeatures?.some((feature) => !offered.has(feature));
    if (!config || foreign || config.Env) {
      total.skipped++;
      continue;
    }
    const problem = run(assemble(source, config.Mode === "32BIT"), config);
    if (!problem) total.passed++;
    else if (exceptionFor(name)) {
      total.skipped++;
      console.log(`${name}: ${exceptionFor(name)}: ${problem.slice(0, 60)}`);
    } else {
      total.failed++;
      console.log(`${name}: ${problem}`);
    }
  } catch (error) {
    total.failed++;
    const stderr = (error as { stderr?: Buffer }).stderr?.toString() ?? "";
    console.log(`${name}: ${stderr.split("\n")[0] || String(error)}`);
  }
}
const all = { passed: 0, failed: 0, skipped: 0 };
for (const [group, { passed, failed, skipped }] of totals) {
  all.passed += passed;
  all.failed += failed;
  all.skipped += skipped;
  console.log(`${group.padEnd(34)} passed ${passed}, failed ${failed}, not ours ${skipped}`);
}
console.log(`all (${tier}): passed ${all.passed}, failed ${all.failed}, not ours ${all.skipped}`);
process.exitCode = all.failed > 0 ? 1 : 0;
