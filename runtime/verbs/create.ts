/** `create`: everything is made, the command waits for `start`. */
import { type Fd, syscall } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { createContainer } from "../create.ts";
import { replaceText } from "../files.ts";
import { chooseHalf } from "../machine/verbs.ts";
import { connectTo, sendDescriptor } from "../sockets.ts";
import { warningsOf } from "../warnings.ts";
import { readBundle } from "./bundle.ts";
import {
  type OptionTable,
  type ParsedOptionsOf,
  parseOptions,
  UsageError,
} from "./command-line.ts";
import { loadSystemd, type VerbContext } from "./context.ts";

// biome-ignore format: table
export const launchOptions = {
  bundle: "text", "console-socket": "text", "pid-file": "text", "no-pivot": "boolean",
  "no-new-keyring": "boolean", "preserve-fds": "text", "pidfd-socket": "text",
} as const satisfies OptionTable;

export const launchAliases = { b: "bundle" } as const;

export async function create(args: readonly string[], context: VerbContext): Promise<number> {
  const options = parseOptions(args, launchOptions, launchAliases);
  const id = containerId(options, "create");
  const bundle = readBundle(options.text("bundle") ?? ".");
  const shared = sharedOptions(options, context);
  const half = chooseHalf(bundle, { ...context, ...shared, id });
  using console = consoleSocket(options, bundle.config.process?.terminal === true, true);
  const systemd = context.systemdCgroup ? { systemd: await loadSystemd() } : {};
  const { pid, pidfd } = createContainer({
    ...systemd,
    id,
    bundle: bundle.path,
    ...half,
    config: withActivation(half.config, context.env),
    stateRoot: context.stateRoot,
    mode: "create",
    ...shared,
    ...(console === undefined ? {} : { console }),
  });
  for (const warning of warningsOf(bundle.config, half.machine !== undefined))
    context.log.write("warning", warning);
  sendPidfd(options, pidfd);
  pidfd.close();
  writePidFile(options, pid);
  return 0;
}

export function containerId(options: ParsedOptionsOf, verb: string): string {
  const [id, ...more] = options.rest;
  if (id === undefined || more.length > 0)
    throw new UsageError(`"${verb}" requires exactly 1 argument`);
  return id;
}

export function sharedOptions(options: ParsedOptionsOf, context: VerbContext) {
  const passed = activationSockets(context.env);
  return {
    noPivot: options.flag("no-pivot"),
    noNewKeyring: options.flag("no-new-keyring"),
    noCgroups: context.noCgroups,
    preserveFds: passed + Number(options.text("preserve-fds") ?? 0),
  };
}

/** sd_listen_fds(3): sockets passed to us are passed on, from descriptor 3. */
export function activationSockets(env: VerbContext["env"]): number {
  // Not process.pid: Bun remembers it from before it was frozen.
  if (env["LISTEN_PID"] !== String(syscall("getpid"))) return 0;
  const count = Number(env["LISTEN_FDS"] ?? 0);
  return Number.isInteger(count) && count > 0 ? count : 0;
}

/** The program, which is PID 1 of its container, is told of them. */
export function withActivation(config: RuntimeConfig, env: VerbContext["env"]): RuntimeConfig {
  const count = activationSockets(env);
  if (count === 0 || config.process === undefined) return config;
  const told = [...(config.process.env ?? []), `LISTEN_FDS=${count}`, "LISTEN_PID=1"];
  return { ...config, process: { ...config.process, env: told } };
}

/** Connected to whoever wants the terminal; both or none of socket and terminal. */
export function consoleSocket(
  options: ParsedOptionsOf,
  terminal: boolean,
  detaches: boolean,
): Fd | undefined {
  const path = options.text("console-socket") || undefined;
  if (detaches && terminal && path === undefined)
    throw new Error("cannot allocate tty if manyworlds will detach without setting console socket");
  if ((!detaches || !terminal) && path !== undefined)
    throw new Error("cannot use console socket if manyworlds will not detach or allocate tty");
  return path === undefined ? undefined : connectTo(path);
}

/** Decimal without a newline; engines read it as soon as the verb has returned. */
export function writePidFile(options: ParsedOptionsOf, pid: number): void {
  const path = options.text("pid-file");
  if (path) replaceText(path, String(pid), 0o644);
}

/** For engines that want to wait for the process without a race over its PID. */
export function sendPidfd(options: ParsedOptionsOf, pidfd: Fd): void {
  const path = options.text("pidfd-socket");
  if (!path) return;
  using socket = connectTo(path);
  sendDescriptor(socket, pidfd, "pidfd");
}
