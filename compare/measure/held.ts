/**
 * Worlds that stay: started, and held at their first instructions while they are looked at.
 *
 * What a world consists of are the processes that descend from its command. Some leave their
 * parent (a monitor that forks twice), so this process becomes the one that orphans fall to.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename } from "node:path";
import { call, syscall } from "../../linux/index.ts";
import type { OpenRung } from "../rungs/rung.ts";
import { makeHold, type Workspace } from "../workspace.ts";
import { descendantsOf, executableOf, memoryOf, type ProcessMemory, read } from "./processes.ts";
import { lastWords } from "./start.ts";

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
/** How long those that were let go may take to end. */
const END_TIMEOUT_MS = 20_000;
const STDERR_LIMIT = 16 * 1024;

export interface Held extends AsyncDisposable {
  /** Starts one more and waits for its probe's stamp. */
  start(): Promise<void>;
  /** Every process of all of them. */
  processes(): readonly ProcessMemory[];
  /** The probe's process as this machine sees it; undefined behind another kernel. */
  probe(): number | undefined;
  /** As uname(2) tells the first one's probe. */
  kernelRelease(): string | undefined;
}

/** @param patience how long the next one may take to start, in milliseconds */
export function holdWorlds(rung: OpenRung, space: Workspace, patience: () => number): Held {
  const hold = makeHold(space);
  call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const before = new Set(descendantsOf([process.pid]));
  const strangersBefore = new Set(rung.strangers?.([]) ?? []);
  const children: ChildProcess[] = [];
  let release: string | undefined;
  const ours = (): readonly number[] => {
    const strangers = (rung.strangers?.([]) ?? []).filter((pid) => !strangersBefore.has(pid));
    const below = [...descendantsOf([process.pid]), ...strangers, ...descendantsOf(strangers)];
    return below.filter((pid) => !before.has(pid));
  };
  return {
    async start() {
      const started = await startOne(rung, patience());
      release ??= started.release;
      children.push(started.child);
    },
    processes: () => ours().flatMap((pid) => memoryOf(pid) ?? []),
    probe: () => ours().find((pid) => basename(executableOf(pid)) === basename(space.probe)),
    kernelRelease: () => release,
    async [Symbol.asyncDispose]() {
      hold.release();
      if (rung.endsByKill) for (const child of children) child.kill("SIGKILL");
      await Promise.all(children.map(ended));
      reapOrphans();
    },
  };
}

interface Started {
  readonly child: ChildProcess;
  readonly release: string;
}

function startOne(rung: OpenRung, timeoutMs: number): Promise<Started> {
  const { command, env, user } = rung.probe(["h", rung.holdFile]);
  const [file = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: env ?? process.env,
      stdio: ["ignore", "pipe", "pipe"],
      ...(user !== undefined && { uid: user, gid: user }),
    });
    let said = "";
    let output = "";
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`it did not start within ${Math.round(timeoutMs / 1000)} s`));
    }, timeoutMs);
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      act();
    };
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < STDERR_LIMIT) said += text;
    });
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-STDERR_LIMIT);
      const [, release] = /^s \d+\r?\nk (\S+)\r?$/m.exec(output) ?? [];
      if (release !== undefined) settle(() => resolve({ child, release }));
    });
    child.once("error", (error) => settle(() => reject(error)));
    child.once("exit", (status) => {
      settle(() => reject(new Error(`it ended with ${status}: ${lastWords(said)}`)));
    });
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    const timer = setTimeout(() => child.kill("SIGKILL"), END_TIMEOUT_MS);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Zombies that fell to us; children of our own are waited for by whoever started them. */
function reapOrphans(): void {
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const status = read(Number(entry), "status");
    const parent = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1] ?? 0);
    if (parent === process.pid && /^State:\s*Z/m.test(status)) {
      syscall("wait4", Number(entry), 0, WNOHANG, 0);
    }
  }
}
