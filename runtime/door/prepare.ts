/** What `create` leaves for the door, so that the next verbs need no JavaScript. */
import type { RuntimeConfig } from "../../oci/index.ts";
import { replaceText } from "../files.ts";
import { planNamespaces } from "../launch/namespaces.ts";
import type { LaunchContext } from "../launch/plan.ts";
import { socketAddress } from "../sockets.ts";
import { type ContainerRecord, startSocketPath } from "../state.ts";
import { encodeExecProgram } from "./exec-program.ts";
import { encodeFacts, factsFile, may } from "./facts.ts";
import { execFile } from "./files.ts";

export interface LeftContainer {
  readonly record: ContainerRecord;
  readonly directory: string;
  readonly pid: number;
  readonly startTime: number;
  /** `leaveExecProgram` has left one. */
  readonly execs: boolean;
}

/** Without this file the executable does every verb; so what does not fit is simply left out. */
export function leaveFacts({ record, directory, pid, startTime, execs }: LeftContainer): void {
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
    may: (starts ? may.start : 0) | (deletes ? may.delete : 0) | (execs ? may.exec : 0),
    cgroup,
    socket,
  });
  if (bytes !== undefined) replaceText(`${directory}/${factsFile}`, bytes, 0o600);
}

/** Whether the door may exec. Made while the container's own program is at work. */
export function leaveExecProgram(
  record: ContainerRecord,
  directory: string,
  { grantable, seccompFilter }: Pick<LaunchContext, "grantable" | "seccompFilter">,
): boolean {
  const program = encodeExecProgram(record, { grantable, filter: seccompFilter });
  if (program === undefined) return false;
  replaceText(`${directory}/${execFile}`, program, 0o600);
  return true;
}

type HookName = keyof NonNullable<RuntimeConfig["hooks"]>;

function has({ hooks }: RuntimeConfig, ...names: readonly HookName[]): boolean {
  return names.some((name) => (hooks?.[name]?.length ?? 0) > 0);
}
