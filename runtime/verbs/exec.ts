/** `exec`: another process in a running container. */
import type { Process } from "../../oci/index.ts";
import { leaveExecProgram } from "../door/prepare.ts";
import { execInContainer } from "../exec.ts";
import { readText } from "../files.ts";
import { wantWholeProcess } from "../frozen/subject.ts";
import { execInMachine } from "../machine/verbs.ts";
import { type Container, readContainer } from "../state.ts";
import { parseJson } from "./bundle.ts";
import {
  type OptionTable,
  type ParsedOptionsOf,
  parseOptions,
  UsageError,
} from "./command-line.ts";
import { ExitError, systemdOf, type VerbContext } from "./context.ts";
import { consoleSocket, sendPidfd, writePidFile } from "./create.ts";
import { terminalPair, waitInForeground } from "./foreground.ts";

// biome-ignore format: table
const execOptions = {
  "console-socket": "text", cwd: "text", env: "list", tty: "boolean", user: "text",
  "additional-gids": "list", process: "text", detach: "boolean", "pid-file": "text",
  "process-label": "text", apparmor: "text", "no-new-privs": "boolean", cap: "list",
  "preserve-fds": "text", cgroup: "list", "ignore-paused": "boolean", "pidfd-socket": "text",
} as const satisfies OptionTable;

// biome-ignore format: table
const aliases = {
  e: "env", t: "tty", u: "user", g: "additional-gids", p: "process", d: "detach", c: "cap",
} as const;

/** runc's status for an exec that did not come about; engines tell it from the command's own. */
const execFailed = 255;

export async function exec(args: readonly string[], context: VerbContext): Promise<number> {
  const options = parseOptions(args, execOptions, aliases);
  const [id, ...command] = options.rest;
  if (id === undefined) throw new UsageError('"exec" requires a minimum of 1 argument');
  if (!options.flag("detach")) wantWholeProcess();
  try {
    const container = readContainer(context.stateRoot, id);
    // Code that is loaded when it is wanted, and a conversation with a keeper.
    if (container.cgroup?.systemd !== undefined || container.machine !== undefined)
      wantWholeProcess();
    const status = await execute(container, command, options, context.self);
    if (args[0] === id && container.machine === undefined) leaveExecProgram(container);
    return status;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new ExitError(`exec failed: ${problem}`, execFailed, { cause });
  }
}

async function execute(
  container: Container,
  command: readonly string[],
  options: ParsedOptionsOf,
  self: readonly string[],
): Promise<number> {
  const process = readProcess(container, command, options);
  const detach = options.flag("detach");
  const terminal = process.terminal === true;
  using asked = consoleSocket(options, terminal, detach);
  const pair = terminal && !detach ? terminalPair() : undefined;
  const console = asked ?? pair?.theirs;
  const systemd = await systemdOf(container.cgroup);
  const common = {
    process,
    ...(systemd === undefined ? {} : { systemd }),
    ...(console === undefined ? {} : { console }),
  };
  const { pid, pidfd } =
    container.machine === undefined
      ? execInContainer(container, {
          ...common,
          preserveFds: Number(options.text("preserve-fds") ?? 0),
        })
      : execInMachine(container, { ...common, self });
  using handle = pidfd;
  sendPidfd(options, handle);
  writePidFile(options, pid);
  return detach ? 0 : await waitInForeground(pid, handle, pair);
}

function readProcess(
  { config: host, machine }: Container,
  command: readonly string[],
  options: ParsedOptionsOf,
): Process {
  const config = machine?.guest ?? host;
  const file = options.text("process");
  // SAFE: the fields are checked where they are used.
  if (file !== undefined) return parseJson(readText(file), file) as Process;
  if (command.length === 0) throw new UsageError("process args cannot be empty");
  const base: Process = config.process ?? { cwd: "/" };
  const added = options.list("cap");
  const capabilities = base.capabilities ?? {};
  const extend = (set: readonly string[] = []) => [...new Set([...set, ...added])];
  return {
    ...base,
    args: command,
    terminal: options.flag("tty"),
    cwd: options.text("cwd") ?? base.cwd,
    env: [...(base.env ?? []), ...options.list("env")],
    noNewPrivileges: options.has("no-new-privs")
      ? options.flag("no-new-privs")
      : base.noNewPrivileges === true,
    capabilities: {
      ...capabilities,
      bounding: extend(capabilities.bounding),
      effective: extend(capabilities.effective),
      permitted: extend(capabilities.permitted),
    },
    user: readUser(base, options),
    ...(options.has("apparmor") ? { apparmorProfile: options.text("apparmor") ?? "" } : {}),
    ...(options.has("process-label") ? { selinuxLabel: options.text("process-label") ?? "" } : {}),
  };
}

function readUser(base: Process, options: ParsedOptionsOf): NonNullable<Process["user"]> {
  const user = base.user ?? { uid: 0, gid: 0 };
  const gids = options
    .list("additional-gids")
    .flatMap((list) => list.split(","))
    .map(toId);
  const text = options.text("user");
  const [uid, gid] = text === undefined ? [] : text.split(":").map(toId);
  return {
    ...user,
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(gids.length === 0 ? {} : { additionalGids: [...(user.additionalGids ?? []), ...gids] }),
  };
}

function toId(text: string): number {
  if (!/^\d+$/.test(text)) throw new UsageError(`parsing ${text} as int for uid failed`);
  return Number(text);
}
