/** `run`: create and start in one; in the foreground it waits and leaves nothing behind. */
import { createContainer } from "../create.ts";
import { canHandOver, openHandover } from "../door/handover.ts";
import { wantWholeProcess } from "../frozen/subject.ts";
import { runHooks } from "../hooks.ts";
import { destroyContainer, startContainer } from "../lifecycle.ts";
import { chooseHalf } from "../machine/verbs.ts";
import { markPhase, writePhases } from "../phases.ts";
import { ociState, readContainer } from "../state.ts";
import { warningsOf } from "../warnings.ts";
import { readBundle } from "./bundle.ts";
import { type OptionTable, parseOptions } from "./command-line.ts";
import { loadSystemd, type VerbContext } from "./context.ts";
import {
  consoleSocket,
  containerId,
  launchAliases,
  launchOptions,
  sendPidfd,
  sharedOptions,
  withActivation,
  writePidFile,
} from "./create.ts";
import { terminalPair, waitInForeground } from "./foreground.ts";

const runOptions = {
  ...launchOptions,
  detach: "boolean",
  keep: "boolean",
  "no-subreaper": "boolean",
} as const satisfies OptionTable;

export async function run(args: readonly string[], context: VerbContext): Promise<number> {
  const options = parseOptions(args, runOptions, { ...launchAliases, d: "detach" });
  const id = containerId(options, "run");
  const bundle = readBundle(options.text("bundle") ?? ".");
  const { path } = bundle;
  const shared = sharedOptions(options, context);
  const { config, machine } = chooseHalf(bundle, { ...context, ...shared, id });
  const detach = options.flag("detach");
  const terminal = config.process?.terminal === true;
  const keeps = options.flag("keep");
  const handsOver =
    !(detach || terminal || keeps || context.systemdCgroup || machine !== undefined) &&
    canHandOver(config, context.stateRoot, id);
  if (!detach && !handsOver) wantWholeProcess();
  using asked = consoleSocket(options, terminal, detach);
  const pair = terminal && !detach ? terminalPair() : undefined;
  const console = asked ?? pair?.theirs;
  // startContainer hooks run between the two, so then it takes both steps; and a machine's boot.
  const staged = (config.hooks?.startContainer?.length ?? 0) > 0 || machine !== undefined;
  const systemd = context.systemdCgroup ? await loadSystemd() : undefined;
  const door = openHandover(context.calledAs);
  const created = createContainer({
    ...(systemd === undefined ? {} : { systemd }),
    id,
    bundle: path,
    config: withActivation(config, context.env),
    stateRoot: context.stateRoot,
    mode: staged ? "create" : "run",
    detach,
    ...(door !== undefined && handsOver ? { waitedForBy: "parent" } : {}),
    ...shared,
    ...(machine === undefined ? {} : { machine }),
    ...(console === undefined ? {} : { console }),
  });
  for (const warning of warningsOf(bundle.config, machine !== undefined))
    context.log.write("warning", warning);
  using pidfd = created.pidfd;
  const destroy = () => {
    const { record, directory } = created;
    const stopped = { ...record, directory, pid: 0, status: "stopped" } as const;
    const problem = destroyContainer(stopped, systemd);
    if (problem !== undefined) context.log.write("warning", problem);
  };
  try {
    if (staged) startContainer(readContainer(context.stateRoot, id));
    else
      runHooks(
        "poststart",
        config.hooks?.poststart,
        ociState(created.record, "running", created.pid),
      );
    sendPidfd(options, pidfd);
    writePidFile(options, created.pid);
  } catch (error) {
    destroy();
    throw error;
  }
  markPhase("runs");
  writePhases();
  if (detach) return 0;
  if (handsOver && door !== undefined) {
    door.ran(created.pid, context.stateRoot, id);
    return 0;
  }
  const status = await waitInForeground(created.pid, pidfd, pair, () => door?.stay());
  if (!keeps) destroy();
  return status;
}
