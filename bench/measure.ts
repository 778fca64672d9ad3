/**
 * Times whole commands side by side.
 *
 * Every round runs each candidate once, in an order that turns by one, so that drift of the
 * machine (turbo, page cache, neighbours) hits all alike. What is compared is the ratio within a
 * round; what is printed is the median over rounds with the quartiles as its spread.
 */
import { spawn } from "node:child_process";
import { timeCommand } from "../compare/index.ts";

export interface Candidate {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Runs before each sample, outside the time taken. */
  readonly prepare?: () => void | Promise<void>;
  /** What the exit status should be; another one stops the bench with the command's stderr. */
  readonly status?: number;
}

export interface Samples {
  readonly name: string;
  /** One per round, in order; milliseconds of wall time from before fork to after wait. */
  readonly ms: readonly number[];
  /** Processor time of the command and of the descendants it waited for; steadier than wall time. */
  readonly cpuMs?: readonly number[];
}

export interface MeasureOptions {
  readonly rounds: number;
  readonly warmups?: number;
  readonly onRound?: (round: number, rounds: number) => void;
}

/** A candidate that fails in warm-up is left out, with the reason, so that the others still tell. */
export interface Measured {
  readonly samples: readonly Samples[];
  readonly left: readonly { readonly name: string; readonly why: string }[];
}

const stderrLimitBytes = 64 * 1024;
const sampleTimeoutMs = 600_000;

export async function measure(
  candidates: readonly Candidate[],
  { rounds, warmups = 2, onRound }: MeasureOptions,
): Promise<Measured> {
  const left: { name: string; why: string }[] = [];
  const able: { candidate: Candidate; ms: number[]; cpuMs: number[] }[] = [];
  for (const candidate of candidates) {
    const why = await failsInWarmUp(candidate, warmups);
    if (why === undefined) able.push({ candidate, ms: [], cpuMs: [] });
    else left.push({ name: candidate.name, why });
  }
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < able.length; turn++) {
      const entry = able[(turn + round) % able.length];
      if (entry === undefined) continue;
      const { ms, cpuMs } = await sample(entry.candidate);
      entry.ms.push(ms);
      entry.cpuMs.push(cpuMs);
    }
    onRound?.(round + 1, rounds);
  }
  const samples = able.map(({ candidate, ms, cpuMs }) => ({ name: candidate.name, ms, cpuMs }));
  return { samples, left };
}

async function failsInWarmUp(candidate: Candidate, warmups: number): Promise<string | undefined> {
  try {
    for (let count = 0; count < warmups; count++) await sample(candidate);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function sample(candidate: Candidate): Promise<{ ms: number; cpuMs: number }> {
  await candidate.prepare?.();
  const { command, cwd, env } = candidate;
  const timing = timeCommand({
    command,
    timeoutMs: sampleTimeoutMs,
    ...(cwd !== undefined && { cwd }),
    ...(env !== undefined && { env }),
  });
  if (timing.status !== (candidate.status ?? 0)) {
    const said = timing.stderr.trim().slice(-500);
    throw new Error(`"${command.join(" ")}" ended with ${timing.status}: ${said}`);
  }
  return { ms: timing.wholeMs, cpuMs: timing.cpuMs };
}

/** Starts `count` commands at the same moment; milliseconds until the last one has ended. */
export async function measureTogether(
  count: number,
  commandOf: (index: number) => readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly ms: number; readonly failed: number; readonly firstError: string }> {
  const started = performance.now();
  const statuses = await Promise.all(
    Array.from({ length: count }, (_, index) => endOf(commandOf(index), env)),
  );
  const failures = statuses.filter((end) => end.status !== 0);
  const ms = performance.now() - started;
  return { ms, failed: failures.length, firstError: failures[0]?.said ?? "" };
}

function endOf(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ readonly status: number | null; readonly said: string }> {
  const [file = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text: string) => {
      if (said.length < stderrLimitBytes) said += text;
    });
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, said }));
  });
}
