/**
 * Compiles the seccomp section of config.json (runtime-spec 1.3, config-linux.md, "Seccomp") to
 * a filter in classic BPF.
 *
 * ```
 * architecture? → x32 bit? → binary tree over ranges of numbers → rules of one call → return
 * ```
 * Decisions are those of libseccomp as runc drives it: a rule without conditions beats those
 * with conditions; the conditions of a rule are joined by "and", except that a rule which names
 * an argument twice counts as one rule for each condition; a foreign architecture is killed.
 */
import {
  BpfBuilder,
  type BpfInstruction,
  type BpfPlace,
  encodeBpf,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
  SECCOMP_RET_USER_NOTIF,
  seccompData,
} from "../../linux/index.ts";
import type {
  Seccomp,
  SeccompAction,
  SeccompArgument,
  SeccompFlag,
  SeccompSyscall,
} from "../../oci/index.ts";
import { SpecError } from "../../oci/index.ts";
import { type Architecture, architecturesOf, x32Bit } from "./architectures.ts";
import { type Condition, emitVerdict, type Verdict } from "./verdict.ts";

export interface SeccompFilter {
  readonly instructions: readonly BpfInstruction[];
  /** For seccomp(2). */
  readonly flags: number;
  /** Some call is handed to a listener. */
  readonly notifies: boolean;
}

const EPERM = 1;
const ENOSYS = 38;
const errnoMask = 0xffff;
const argumentCount = 6;

// biome-ignore format: table
const actions: Readonly<Record<SeccompAction, number>> = {
  SCMP_ACT_KILL: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_THREAD: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: SECCOMP_RET_KILL_PROCESS,
  SCMP_ACT_TRAP: SECCOMP_RET_TRAP,
  SCMP_ACT_ERRNO: SECCOMP_RET_ERRNO,
  SCMP_ACT_TRACE: SECCOMP_RET_TRACE,
  SCMP_ACT_ALLOW: SECCOMP_RET_ALLOW,
  SCMP_ACT_LOG: SECCOMP_RET_LOG,
  SCMP_ACT_NOTIFY: SECCOMP_RET_USER_NOTIF,
};

// biome-ignore format: table
const flagBits: Readonly<Record<SeccompFlag, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_LOG: SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
};

export const seccompActions = Object.keys(actions);
export const seccompFlags = Object.keys(flagBits);
// biome-ignore format: table
export const seccompOperators = [
  "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;

/** As the kernel takes it. */
export interface EncodedFilter {
  /** struct sock_filter, 8 bytes each. */
  readonly code: Uint8Array;
  readonly flags: number;
  readonly notifies: boolean;
}

export function encodeSeccomp(profile: Seccomp): EncodedFilter {
  const { instructions, flags, notifies } = compileSeccomp(profile);
  return { code: encodeBpf(instructions), flags, notifies };
}

/** Throws SpecError for what the specification does not know. */
export function compileSeccomp(profile: Seccomp): SeccompFilter {
  checkSeccompProfile(profile);
  const defaultReturn = returnValue(profile.defaultAction, profile.defaultErrnoRet);
  const architectures = architecturesOf(profile.architectures);
  const builder = new BpfBuilder();
  const trees = architectures.map((architecture) => ({
    architecture,
    entry: emitArchitecture(builder, architecture, profile, defaultReturn),
  }));
  return {
    instructions: builder.finish(emitDispatch(builder, trees)),
    flags: (profile.flags ?? []).reduce((bits, flag) => bits | flagBits[flag], 0),
    notifies: (profile.syscalls ?? []).some(({ action }) => action === "SCMP_ACT_NOTIFY"),
  };
}

/** The words of a profile; throws SpecError for one that the specification does not have. */
export function checkSeccompProfile(profile: Seccomp): void {
  checkName("defaultAction", profile.defaultAction, actions);
  checkErrno("defaultErrnoRet", profile.defaultAction, profile.defaultErrnoRet);
  for (const name of profile.architectures ?? [])
    if (!seccompArchitectures.includes(name))
      throw broken("architectures", `has ${JSON.stringify(name)}`);
  for (const flag of profile.flags ?? []) checkName("flags", flag, flagBits);
  (profile.syscalls ?? []).forEach((rule, index) => {
    const path = `syscalls[${index}]`;
    if (!Array.isArray(rule.names) || rule.names.length === 0)
      throw broken(`${path}.names`, "must name at least one system call");
    checkName(`${path}.action`, rule.action, actions);
    checkErrno(`${path}.errnoRet`, rule.action, rule.errnoRet);
    for (const argument of rule.args ?? []) {
      if (
        !Number.isInteger(argument.index) ||
        argument.index < 0 ||
        argument.index >= argumentCount
      )
        throw broken(`${path}.args`, `has index ${argument.index}, expected 0 to 5`);
      if (!seccompOperators.includes(argument.op))
        throw broken(`${path}.args`, `has unknown op ${JSON.stringify(argument.op)}`);
    }
  });
}

/** config-linux.md: an errno for an action that takes none is an error. */
function checkErrno(path: string, action: SeccompAction, errno: number | undefined): void {
  if (errno === undefined || action === "SCMP_ACT_ERRNO" || action === "SCMP_ACT_TRACE") return;
  // Engines fill in 0 or their default for every rule; only another value can be a mistake.
  if (errno !== 0) throw broken(path, `is given for ${action}, which returns no errno`);
}

/** All that the specification names; those of other processors never match here. */
// biome-ignore format: table
const seccompArchitectures: readonly string[] = [
  "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
  "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64",
  "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32",
  "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X",
  "SCMP_ARCH_SH", "SCMP_ARCH_SHEB", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
  "SCMP_ARCH_RISCV64",
];

function checkName(path: string, name: string, table: Readonly<Record<string, number>>): void {
  if (!Object.hasOwn(table, name))
    throw broken(path, `is ${JSON.stringify(name)}, expected ${Object.keys(table).join(", ")}`);
}

function broken(path: string, problem: string): SpecError {
  return new SpecError({ document: "config.json", path: `linux.seccomp.${path}`, problem });
}

function returnValue(action: SeccompAction, errnoRet = EPERM): number {
  const carriesErrno = action === "SCMP_ACT_ERRNO" || action === "SCMP_ACT_TRACE";
  return (actions[action] | (carriesErrno ? errnoRet & errnoMask : 0)) >>> 0;
}

/** What happens to each call number that some rule names. */
function verdictsOf(
  architecture: Architecture,
  profile: Seccomp,
  defaultReturn: number,
): Map<number, Verdict> {
  const verdicts = new Map<number, Verdict>();
  for (const rule of profile.syscalls ?? []) {
    const value = returnValue(rule.action, rule.errnoRet);
    if (value === defaultReturn) continue;
    const alternatives = conditionsOf(rule);
    for (const name of rule.names) {
      const number = architecture.number(name);
      if (number !== undefined) addRule(verdicts, number, value, alternatives);
      const carrier = architecture.multiplexed?.(name);
      if (carrier !== undefined)
        addRule(verdicts, carrier.number, value, carried(alternatives, carrier.argument));
    }
  }
  return verdicts;
}

function addRule(
  verdicts: Map<number, Verdict>,
  number: number,
  value: number,
  alternatives: readonly (readonly Condition[])[],
): void {
  const old = verdicts.get(number) ?? { rules: [] };
  if (old.always !== undefined) return;
  const always = alternatives.some((conditions) => conditions.length === 0);
  const rules = alternatives.map((conditions) => ({ conditions, value }));
  verdicts.set(number, always ? { always: value, rules: [] } : { rules: [...old.rules, ...rules] });
}

/** Alternatives ("or") of conditions ("and"). */
function conditionsOf(rule: SeccompSyscall): readonly (readonly Condition[])[] {
  const conditions = (rule.args ?? []).map(toCondition);
  const indexes = new Set(conditions.map(({ index }) => index));
  return indexes.size === conditions.length ? [conditions] : conditions.map((one) => [one]);
}

function toCondition({ index, op, value, valueTwo = 0 }: SeccompArgument): Condition {
  return { index, op, value: toUint64(value), valueTwo: toUint64(valueTwo) };
}

/**
 * socketcall(2) and ipc(2) say in their first argument which call they carry. The real arguments
 * are in memory, where a filter cannot look; libseccomp leaves the other conditions as they are.
 */
function carried(
  alternatives: readonly (readonly Condition[])[],
  call: number,
): readonly (readonly Condition[])[] {
  return alternatives.map((conditions) => [
    equals(0, call),
    ...conditions.filter(({ index }) => index !== 0),
  ]);
}

function equals(index: number, value: number): Condition {
  return { index, op: "SCMP_CMP_EQ", value: BigInt(value), valueTwo: 0n };
}

/** JSON.parse rounds 2^64 - 1 up to 2^64; it is the only sensible meaning of that. */
function toUint64(value: number): bigint {
  const exact = BigInt(Math.trunc(value));
  const largest = 2n ** 64n - 1n;
  return exact > largest ? largest : BigInt.asUintN(64, exact);
}

/** Consecutive numbers that end alike. */
interface Range {
  readonly first: number;
  readonly verdict: Verdict;
}

function emitArchitecture(
  builder: BpfBuilder,
  architecture: Architecture,
  profile: Seccomp,
  defaultReturn: number,
): BpfPlace {
  const verdicts = verdictsOf(architecture, profile, defaultReturn);
  const ranges = rangesOf(verdicts, defaultReturn, hidesNewCalls(profile));
  const emitRange = ({ verdict }: Range) =>
    emitVerdict(builder, architecture, verdict, defaultReturn);
  const tree = (low: number, high: number): BpfPlace => {
    const middle = (low + high) >> 1;
    const range = ranges[middle];
    if (range === undefined || low >= high) throw new RangeError("An empty tree has no place");
    if (high - low === 1) return emitRange(range);
    const upper = tree(middle, high);
    const lower = tree(low, middle);
    return builder.jump("JGE", range.first + architecture.bit, upper, lower);
  };
  return tree(0, ranges.length);
}

/**
 * Calls newer than any that the profile names answer ENOSYS, as runc (since 1.0-rc93) does it:
 * C libraries fall back on ENOSYS but take EPERM for the truth.
 */
function hidesNewCalls({ defaultAction, defaultErrnoRet }: Seccomp): boolean {
  if (defaultAction === "SCMP_ACT_ERRNO") return (defaultErrnoRet ?? EPERM) !== ENOSYS;
  return defaultAction.startsWith("SCMP_ACT_KILL") || defaultAction === "SCMP_ACT_TRAP";
}

function rangesOf(
  verdicts: ReadonlyMap<number, Verdict>,
  defaultReturn: number,
  hideNew: boolean,
): readonly Range[] {
  const otherwise: Verdict = { always: defaultReturn, rules: [] };
  const ranges: Range[] = [{ first: 0, verdict: otherwise }];
  const add = (range: Range) => {
    const last = ranges.at(-1);
    if (last?.first === range.first) ranges.pop();
    const before = ranges.at(-1)?.verdict;
    if (before?.always === undefined || before.always !== range.verdict.always) ranges.push(range);
  };
  const numbers = [...verdicts.keys()].sort((a, b) => a - b);
  for (const number of numbers) {
    add({ first: number, verdict: verdicts.get(number) ?? otherwise });
    add({ first: number + 1, verdict: otherwise });
  }
  const newest = numbers.at(-1);
  if (hideNew && newest !== undefined)
    add({ first: newest + 1, verdict: { always: SECCOMP_RET_ERRNO | ENOSYS, rules: [] } });
  return ranges;
}

interface Tree {
  readonly architecture: Architecture;
  readonly entry: BpfPlace;
}

/** No call has this number; a tracer writes it to skip one. */
const skippedCall = 0xffff_ffff;

function emitDispatch(builder: BpfBuilder, trees: readonly Tree[]): BpfPlace {
  const foreign = () => builder.ret(SECCOMP_RET_KILL_THREAD);
  const own = (name: string) => trees.find(({ architecture }) => architecture.name === name);
  const x86_64 = own("SCMP_ARCH_X86_64");
  const i386 = own("SCMP_ARCH_X86");
  const x32 = own("SCMP_ARCH_X32");
  if (x86_64 === undefined) throw new RangeError("A filter always has the kernel's own table");

  let place = foreign();
  if (i386 !== undefined) {
    const table = builder.load(seccompData.nr, i386.entry);
    place = builder.jump("JEQ", i386.architecture.audit, table, foreign());
  }
  // Without x32 in the profile its numbers are foreign; the skipped call is nobody's.
  const high =
    x32 === undefined
      ? builder.jump("JEQ", skippedCall, x86_64.entry, foreign())
      : builder.jump("JEQ", skippedCall, x86_64.entry, x32.entry);
  const split = builder.jump("JGE", x32Bit, high, x86_64.entry);
  const table = builder.load(seccompData.nr, split);
  const arch = builder.jump("JEQ", x86_64.architecture.audit, table, place);
  return builder.load(seccompData.arch, arch);
}
