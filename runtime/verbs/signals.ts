/** `kill`, `pause`, `resume`, `start`, `delete`: verbs that act on a container that exists. */
import { NoContainerError } from "../errors.ts";
import {
  deleteContainer,
  killContainer,
  pauseContainer,
  resumeContainer,
  startContainer,
} from "../lifecycle.ts";
import { parseSignal } from "../signals.ts";
import { lockContainer, readContainer, removeState } from "../state.ts";
import { parseOptions, UsageError } from "./command-line.ts";
import { systemdOf, type VerbContext } from "./context.ts";
import { containerId } from "./create.ts";

export function start(args: readonly string[], { stateRoot }: VerbContext): number {
  const id = containerId(parseOptions(args, {}), "start");
  using _lock = lockContainer(`${stateRoot}/${id}`);
  startContainer(readContainer(stateRoot, id));
  return 0;
}

export function kill(args: readonly string[], { stateRoot }: VerbContext): number {
  const options = parseOptions(args, { all: "boolean" }, { a: "all" });
  const [id, signal = "SIGTERM", ...more] = options.rest;
  if (id === undefined || more.length > 0)
    throw new UsageError('"kill" requires a minimum of 1 argument and a maximum of 2');
  killContainer(readContainer(stateRoot, id), readSignal(signal), { all: options.flag("all") });
  return 0;
}

function readSignal(text: string): number {
  const number = parseSignal(text);
  if (number === undefined) throw new UsageError(`unknown signal ${JSON.stringify(text)}`);
  return number;
}

export function pause(args: readonly string[], { stateRoot }: VerbContext): number {
  pauseContainer(readContainer(stateRoot, containerId(parseOptions(args, {}), "pause")));
  return 0;
}

export function resume(args: readonly string[], { stateRoot }: VerbContext): number {
  resumeContainer(readContainer(stateRoot, containerId(parseOptions(args, {}), "resume")));
  return 0;
}

export async function remove(
  args: readonly string[],
  { stateRoot, log }: VerbContext,
): Promise<number> {
  const options = parseOptions(args, { force: "boolean" }, { f: "force" });
  const force = options.flag("force");
  const id = containerId(options, "delete");
  try {
    using _lock = lockContainer(`${stateRoot}/${id}`);
    const container = readContainer(stateRoot, id);
    const systemd = await systemdOf(container.cgroup);
    const problem = deleteContainer(container, { force, systemd });
    if (problem !== undefined) log.write("warning", problem);
  } catch (error) {
    if (!(error instanceof NoContainerError) || !force) throw error;
    // A create that was killed before it wrote its record leaves an empty directory.
    removeState(`${stateRoot}/${id}`);
  }
  return 0;
}
