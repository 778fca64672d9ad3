/** What `create` and `exec` leave for the door, so that the next verbs need no JavaScript. */
import type { RuntimeConfig } from "../../oci/index.ts";
import { permittedCapabilities } from "../capabilities.ts";
import { exists, replaceText } from "../files.ts";
import { planNamespaces } from "../launch/namespaces.ts";
import { encodeSeccomp } from "../seccomp/compile.ts";
import { socketAddress } from "../sockets.ts";
import { type Container, type ContainerRecord, lockContainer, startSocketPath } from "../state.ts";
import { encodeExecProgram } from "./exec-program.ts";
import { encodeFacts, factsFile, may } from "./facts.ts";
import { execFile } from "./files.ts";

export interface LeftContainer {
  readonly record: ContainerRecord;
  readonly directory: string;
  readonly pid: number;
  readonly startTime: number;
}

/** Without this file the executable does every verb; so what does not fit is simply left out. */
export function leaveFacts({ record, directory, pid, startTime }: LeftContainer): void {
  if (!directory.startsWith("/") || startTime === 0) return;
  const { config, cgroup, resctrl } = record;
  const socket = socketAddress(startSocketPath(directory));
  const isReady = socket !== undefined && config.process !== undefined;
  const starts = isReady && !has(config, "startContainer", "poststart");
  // Without a PID namespace of its own the container may leave processes to be killed one by one.
  const dies = planNamespaces(config.linux?.namespaces).has("pid");
  const isOurs = cgroup?.systemd === undefined && resctrl === undefined;
  const deletes = dies && isOurs && !has(config, "poststop");
  const bytes = encodeFacts({
    pid,
    startTime,
    may: (starts ? may.start : 0) | (deletes ? may.delete : 0),
    cgroup,
    socket,
  });
  if (bytes !== undefined) replaceText(`${directory}/${factsFile}`, bytes, 0o600);
}

/** For the next `exec`: whoever execs once into a container mostly does so again. */
export function leaveExecProgram({ directory, ...record }: Container): void {
  if (exists(`${directory}/${execFile}`)) return;
  const profile = record.config.linux?.seccomp;
  const program = encodeExecProgram(record, {
    grantable: permittedCapabilities(),
    filter: profile === undefined ? undefined : encodeSeccomp(profile),
  });
  if (program === undefined) return;
  try {
    using _lock = lockContainer(directory);
    replaceText(`${directory}/${execFile}`, program, 0o600);
  } catch {
    // The container may be gone by now, or the disk full; what was executed has had its status.
  }
}

type HookName = keyof NonNullable<RuntimeConfig["hooks"]>;

function has({ hooks }: RuntimeConfig, ...names: readonly HookName[]): boolean {
  return names.some((name) => (hooks?.[name]?.length ?? 0) > 0);
}
