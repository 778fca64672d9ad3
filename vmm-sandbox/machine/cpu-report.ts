/**
 * What a CPU in software has counted, as plain data: fit for JSON, for crossing threads, and for
 * crossing from a confined monitor, which is not believed unseen (parseCpuReport).
 */

/** How a sensitive instruction is executed: in WebAssembly like any other, or by TypeScript. */
export type Handling = "emitted" | "helper";

/** x86's sensitive but unprivileged instructions, as translator/system/sensitive.ts names them. */
export interface SensitiveCount {
  readonly instruction: string;
  readonly kernel: number;
  readonly user: number;
  readonly handled: Handling;
}

/** Why code in WebAssembly came back to the run loop. */
export const exitNames = ["fuel", "lookup", "fault", "helper", "hot"] as const;
export type ExitName = (typeof exitNames)[number];

export const translationCounts = [
  "runs",
  "instructions",
  "regions",
  "regionInstructions",
  "regionBytes",
  "compileMs",
  "invalidations",
  "flushes",
] as const;

export interface CpuReport {
  /** Runs of decoded instructions, and what became compiled functions. */
  readonly translation: Readonly<Record<(typeof translationCounts)[number], number>>;
  /** Of the times the run loop asked for code, how often it was there: 0 to 1. */
  readonly hitRate: number;
  readonly exits: Readonly<Record<ExitName, number>>;
  readonly tlb: { readonly misses: number; readonly flushes: number };
  /** Instructions that TypeScript executed, and accesses that took the slow path. */
  readonly helpers: number;
  readonly slowAccesses: number;
  readonly interrupts: number;
  /** By vector, those that happened. */
  readonly exceptions: Readonly<Record<string, number>>;
  readonly sensitive: readonly SensitiveCount[];
  /** What the guest tried and CPUID does not offer; each raised #UD or #GP. */
  readonly refused: {
    readonly instructions: Readonly<Record<string, number>>;
    readonly msrs: readonly number[];
  };
}

/** More rows than any CPU of ours has. */
const MAX_ROWS = 4096;
const MAX_NAME = 120;

/** Checks every field of what somebody sent; throws a TypeError that names the wrong one. */
export function parseCpuReport(value: unknown): CpuReport {
  const report = asObject(value, "report");
  const counts = <K extends string>(name: string, keys: readonly K[]): Record<K, number> => {
    const given = asObject(report[name], name);
    const entries = keys.map((key) => [key, asCount(given[key], `${name}.${key}`)]);
    // SAFE: made of the very keys.
    return Object.fromEntries(entries) as Record<K, number>;
  };
  const refused = asObject(report["refused"], "refused");
  const hitRate = asCount(report["hitRate"], "hitRate");
  if (hitRate > 1) throw wrong("hitRate", "a share from 0 to 1");
  return {
    translation: counts("translation", translationCounts),
    hitRate,
    exits: counts("exits", exitNames),
    tlb: counts("tlb", ["misses", "flushes"]),
    helpers: asCount(report["helpers"], "helpers"),
    slowAccesses: asCount(report["slowAccesses"], "slowAccesses"),
    interrupts: asCount(report["interrupts"], "interrupts"),
    exceptions: asCounts(report["exceptions"], "exceptions"),
    sensitive: asList(report["sensitive"], "sensitive").map(asSensitive),
    refused: {
      instructions: asCounts(refused["instructions"], "refused.instructions"),
      msrs: asList(refused["msrs"], "refused.msrs").map((msr) => asCount(msr, "refused.msrs")),
    },
  };
}

function asSensitive(value: unknown): SensitiveCount {
  const row = asObject(value, "sensitive");
  const { instruction, handled } = row;
  if (typeof instruction !== "string" || !isName(instruction))
    throw wrong("sensitive.instruction", "a name");
  if (handled !== "emitted" && handled !== "helper")
    throw wrong("sensitive.handled", '"emitted" or "helper"');
  const kernel = asCount(row["kernel"], "sensitive.kernel");
  return { instruction, kernel, user: asCount(row["user"], "sensitive.user"), handled };
}

function asObject(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw wrong(name, "an object");
  // SAFE: an object that is no array has string keys.
  return value as Readonly<Record<string, unknown>>;
}

function asList(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value) || value.length > MAX_ROWS)
    throw wrong(name, `a list of ${MAX_ROWS} at most`);
  return value;
}

function asCounts(value: unknown, name: string): Readonly<Record<string, number>> {
  const entries = Object.entries(asObject(value, name));
  if (entries.length > MAX_ROWS) throw wrong(name, `${MAX_ROWS} names at most`);
  for (const [key] of entries) if (!isName(key)) throw wrong(name, "names of printable characters");
  return Object.fromEntries(entries.map(([key, count]) => [key, asCount(count, name)]));
}

function asCount(value: unknown, name: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
    throw wrong(name, "a number that is not negative");
  return value;
}

/** It will stand on a terminal. */
function isName(text: string): boolean {
  return text.length > 0 && text.length <= MAX_NAME && /^[ -~]+$/.test(text);
}

function wrong(name: string, expected: string): TypeError {
  return new TypeError(`Cannot read a CPU's report: expected ${expected} as "${name}"`);
}
