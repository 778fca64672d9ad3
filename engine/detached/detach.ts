/**
 * `run -d`, seen from both sides: who was called starts this program once more, with the same words, and
 * prints the container's ID when that one has it; that one goes on with the container.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readlinkSync, writeSync } from "node:fs";
import type { Readable } from "node:stream";
import { call, O_CLOEXEC, syscall } from "../../linux/index.ts";

/** Names the descriptor on which the ID is waited for. */
const VARIABLE = "MANYWORLDS_DETACHED";
const REPORT_FD = 3;
const ID_LIMIT = 64;

export type DetachedStart =
  | { readonly id: string }
  /** It has said why on standard error. */
  | { readonly status: number };

/** `self`: words that execute this program with the same arguments. */
export async function startDetached(self: readonly string[]): Promise<DetachedStart> {
  const [program = "", ...args] = self;
  const child = spawn(program, args, {
    env: { ...process.env, [VARIABLE]: String(REPORT_FD) },
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 125) : 125));
  });
  ended.catch(() => undefined); // heard of below
  let id = "";
  // SAFE: stdio has a pipe there, of which we have the reading end.
  for await (const chunk of child.stdio[REPORT_FD] as Readable)
    id = (id + String(chunk)).slice(0, ID_LIMIT);
  if (id === "") return { status: (await ended) || 125 };
  child.unref();
  return { id };
}

/** Undefined in a process that was not started by `startDetached`. */
export function detachedReport(): ((id: string) => void) | undefined {
  const fd = Number(process.env[VARIABLE]);
  delete process.env[VARIABLE];
  if (fd !== REPORT_FD) return undefined;
  return (id) => {
    writeSync(fd, id);
    closeSync(fd);
  };
}

/**
 * Nothing of the caller's streams and terminal is held any more: who reads what we write to waits until
 * the last descriptor is closed, and engines keep copies of their own.
 */
export function leaveTerminal(): void {
  syscall("setsid");
  const none = openSync("/dev/null", "r+");
  const links = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd"))
    try {
      links.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // what listed them is closed by now
    }
  const ours = new Set([0, 1, 2].map((fd) => links.get(fd)));
  for (const [fd, link] of links)
    if (ours.has(link) && link !== "/dev/null") call("dup3", none, fd, fd > 2 ? O_CLOEXEC : 0);
  closeSync(none);
}
