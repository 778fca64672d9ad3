/**
 * A process that a guest starts before its machine is saved, for practice: namespaces, mounts, an
 * overlay, capabilities, a filter, execve, its streams and its end. What the guest's kernel does for
 * the first time, and the software CPU decodes for the first time, is then part of the snapshot.
 *
 * It runs a program of ours in the first root, and everything that it mounts goes with its namespace.
 */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUTS,
  encodeElf,
  MNT_DETACH,
  MS_BIND,
  MS_NOSUID,
  MS_PRIVATE,
  MS_REC,
  MS_REMOUNT,
  O_CLOEXEC,
  O_CREAT,
  O_PATH,
  O_WRONLY,
  PR_SET_NO_NEW_PRIVS,
  type Row,
} from "../../linux/index.ts";
import { type HostPorts, startGuestProcess } from "./guest-process.ts";
import type { RemoteKernel } from "./remote-kernel.ts";

/** Of the first root. */
export const REHEARSAL_FILE = "rehearsal";
const GREETING = "ready\n";
const namespaces =
  CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

/** The program: allocates, writes, ends. */
export function encodeRehearsal(): Uint8Array {
  return encodeElf({
    rows: [
      { call: "brk", args: [0] },
      { call: "getpid", args: [] },
      { call: "write", args: [1, GREETING, GREETING.length] },
      { call: "exit_group", args: [0] },
    ],
  });
}

/** `root`: rows that put a container's root together and go there. Failing is no harm. */
export async function rehearse(
  kernel: RemoteKernel,
  host: HostPorts,
  root: readonly Row[],
): Promise<void> {
  const process = await startGuestProcess(kernel, host, {
    terminal: false,
    cloneFlags: namespaces,
    rows: [...openProgram(), ...root, ...useRoot(), ...enterRoot(), ...becomeProgram()],
  });
  const drains = [process.stdout, process.stderr].map((stream) => drain(stream));
  await process.stdin.close();
  await Promise.all([process.exited, ...drains]);
}

function openProgram(): readonly Row[] {
  return [
    {
      call: "openat",
      args: [AT_FDCWD, `/${REHEARSAL_FILE}`, O_PATH | O_CLOEXEC, 0],
      as: "program",
    },
    { call: "mount", args: [0, "/", 0, MS_REC | MS_PRIVATE, 0] },
  ];
}

/** Writes, binds and mounts, in the root's folder. */
function useRoot(): readonly Row[] {
  const flags = O_WRONLY | O_CREAT | O_CLOEXEC;
  return [
    ...["dev", "proc", "tmp", "old"].map((name): Row => ({ call: "mkdir", args: [name, 0o755] })),
    { call: "mount", args: ["proc", "proc", "proc", MS_NOSUID, 0] },
    { call: "mount", args: ["tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"] },
    { call: "openat", args: [AT_FDCWD, "tmp/file", flags, 0o644], as: "file" },
    { call: "write", args: [{ result: "file" }, GREETING, GREETING.length] },
    { call: "close", args: [{ result: "file" }] },
    { call: "mount", args: ["tmp/file", "tmp/file", 0, MS_BIND, 0] },
    { call: "mount", args: [0, "tmp/file", 0, MS_BIND | MS_REMOUNT | MS_NOSUID, 0] },
    { call: "symlinkat", args: ["/proc/self/fd", AT_FDCWD, "dev/fd"] },
    { call: "sethostname", args: ["rehearsal", 9] },
  ];
}

function enterRoot(): readonly Row[] {
  return [
    { call: "pivot_root", args: [".", "."] },
    { call: "umount2", args: [".", MNT_DETACH] },
    { call: "chdir", args: ["/"] },
  ];
}

function becomeProgram(): readonly Row[] {
  const program = { result: "program" };
  return [
    { call: "prctl", args: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0] },
    { call: "setgroups", args: [0, 0] },
    { call: "execveat", args: [program, "", { strings: ["x"] }, { strings: [] }, AT_EMPTY_PATH] },
  ];
}

async function drain(stream: ReadableStream<Uint8Array> | undefined): Promise<void> {
  if (stream !== undefined) for await (const _ of stream);
}
