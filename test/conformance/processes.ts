/** Child processes and orphans: running the runtime, and waiting for containers it left to us. */
import { type SpawnOptions, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { call, syscall } from "../../linux/index.ts";

export interface Outcome {
  /** Exit status, or 128 + signal number when the process was killed. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Given to the process as a file; absent: /dev/null. */
  readonly stdinFile?: string;
  /** Further descriptors, which the child sees from 3 on. */
  readonly extraFds?: readonly number[];
  readonly timeoutMs?: number;
}

/** Time limits are multiplied by this on machines that are slow, such as an emulated one. */
let patience = 1;
export function setPatience(factor: number): void {
  patience = factor;
}

const defaultTimeoutMs = 20_000;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const ECHILD = -10;

/**
 * Makes this process the one that orphans are given to, as containerd's shim and conmon are:
 * so it can read the exit status of a container's init.
 */
export function becomeSubreaper(): void {
  call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/**
 * Runs a command with its output in files. Not pipes: a container inherits them, and a pipe would
 * only end with the last process that holds it.
 */
export async function runCommand(
  command: readonly string[],
  outputPrefix: string,
  options: RunOptions = {},
): Promise<Outcome> {
  const [outFile, errFile] = [`${outputPrefix}.out`, `${outputPrefix}.err`];
  const stdin = openSync(options.stdinFile ?? "/dev/null", "r");
  const [out, err] = [openSync(outFile, "a"), openSync(errFile, "a")];
  const spawnOptions: SpawnOptions = {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...(options.env ?? { PATH: process.env["PATH"] ?? "/usr/bin:/bin" }) },
    stdio: [stdin, out, err, ...(options.extraFds ?? [])],
  };
  try {
    const status = await spawnAndWait(command, spawnOptions, options.timeoutMs);
    return { status, stdout: readFileSync(outFile, "utf8"), stderr: readFileSync(errFile, "utf8") };
  } finally {
    for (const fd of [stdin, out, err]) closeSync(fd);
  }
}

function spawnAndWait(
  [file = "", ...args]: readonly string[],
  options: SpawnOptions,
  timeoutMs = defaultTimeoutMs,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, options);
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`"${args.slice(0, 6).join(" ")}" did not end within ${timeoutMs} ms`));
    }, timeoutMs * patience);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      resolve(signal === null ? (code ?? 1) : 128 + signalNumber(signal));
    });
  });
}

// biome-ignore format: table
const signalNumbers: Readonly<Record<string, number>> = {
  SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGABRT: 6, SIGBUS: 7, SIGFPE: 8, SIGKILL: 9,
  SIGUSR1: 10, SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGTERM: 15, SIGSYS: 31,
};

function signalNumber(name: string): number {
  return signalNumbers[name] ?? 127;
}

/**
 * Waits for an orphan of ours and returns its exit status (128 + signal number when killed).
 * Fails when the process is not our child: then the runtime still holds it, or reaped it.
 */
export async function waitForOrphan(pid: number, timeoutMs = 10_000): Promise<number> {
  const status = new Uint8Array(4);
  for (let waitedMs = 0; waitedMs < timeoutMs * patience; waitedMs += 5) {
    const found = syscall("wait4", pid, status, WNOHANG, 0);
    if (found === pid) return decodeStatus(new DataView(status.buffer).getUint32(0, true));
    if (found === ECHILD)
      throw new Error(`Process ${pid} is not our child: expected the runtime to leave it orphaned`);
    await sleep(5);
  }
  throw new Error(`Process ${pid} did not end within ${timeoutMs} ms`);
}

/** wait(2): the low 7 bits are the signal, the next byte the exit status. */
function decodeStatus(raw: number): number {
  const signal = raw & 0x7f;
  return signal === 0 ? (raw >> 8) & 0xff : 128 + signal;
}

/** Reads the status of orphans that ended, so that no zombie stays. */
export function reapOrphan(pid: number): void {
  syscall("wait4", pid, new Uint8Array(4), WNOHANG, 0);
}

export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]$/.test(stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3));
  } catch {
    return false;
  }
}

export async function until(what: string, isTrue: () => boolean, timeoutMs = 5_000): Promise<void> {
  for (let waitedMs = 0; waitedMs < timeoutMs * patience; waitedMs += 10) {
    if (isTrue()) return;
    await sleep(10);
  }
  throw new Error(`Waited ${timeoutMs} ms in vain until ${what}`);
}
