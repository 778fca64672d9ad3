/** What `create` leaves for the door, so that the next verbs need no JavaScript. */
import type { RuntimeConfig } from "../../oci/index.ts";
import { replaceText } from "../files.ts";
import { planNamespaces } from "../launch/namespaces.ts";
import { socketAddress } from "../sockets.ts";
import { type ContainerRecord, startSocketPath } from "../state.ts";
import { encodeFacts, factsFile, may } from "./facts.ts";

export interface LeftContainer {
  readonly record: ContainerRecord;
  readonly directory: string;
  readonly pid: number;
  readonly startTime: number;
}

/** Without this file the executable does every verb; so what does not fit is simply left out. */
export function leaveFacts({ record, directory, pid, startTime }: LeftContainer): void {
  if (!directory.startsWith("/") || startTime === 0) return;
  const { config, cgroup } = record;
  const socket = socketAddress(startSocketPath(directory));
  const starts = socket !== undefined && !has(config, "startContainer", "poststart");
  // Without a PID namespace of its own the container may leave processes to be killed one by one.
  const deletes = !has(config, "poststop") && planNamespaces(config.linux?.namespaces).has("pid");
  const bytes = encodeFacts({
    pid,
    startTime,
    may: (starts ? may.start : 0) | (deletes ? may.delete : 0),
    cgroup,
    socket,
  });
  if (bytes !== undefined) replaceText(`${directory}/${factsFile}`, bytes, 0o600);
}

type HookName = keyof NonNullable<RuntimeConfig["hooks"]>;

function has({ hooks }: RuntimeConfig, ...names: readonly HookName[]): boolean {
  return names.some((name) => (hooks?.[name]?.length ?? 0) > 0);
}
