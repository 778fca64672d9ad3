/**
 * The OCI runtime's command line, runc's: `manyworlds oci VERB …`, or a link named manyworlds-oci.
 * Engines call it as shared/reference/engine-contract.md says. All verbs are
 * one piece of code: loading a second would take longer than having it.
 */

import { encodeUtf8, syscall } from "../linux/index.ts";
import { writeFd } from "./files.ts";
import { makeImage } from "./frozen/freeze.ts";
import { leaveImage } from "./frozen/image.ts";
import { calledAs as frozenNames } from "./frozen/layout.ts";
import { freezeHere } from "./frozen/subject.ts";
import type { IsolationWish } from "./machine/wish.ts";
import { markPhase, tellPhases } from "./phases.ts";
import { defaultStateRoot, ociVersion } from "./state.ts";
import { type ParsedOptionsOf, parseOptions, UsageError } from "./verbs/command-line.ts";
import { ExitError, Log, type VerbContext } from "./verbs/context.ts";
import { create } from "./verbs/create.ts";
import { events } from "./verbs/events.ts";
import { exec } from "./verbs/exec.ts";
import { features } from "./verbs/features.ts";
import { list, ps, state } from "./verbs/inspect.ts";
import { run } from "./verbs/run.ts";
import { kill, pause, remove, resume, start } from "./verbs/signals.ts";
import { spec } from "./verbs/spec.ts";
import { update } from "./verbs/update.ts";

type Verb = (args: readonly string[], context: VerbContext) => number | Promise<number>;
type Environment = Readonly<Record<string, string | undefined>>;

// biome-ignore format: table
const globalOptions = {
  root: "text", log: "text", "log-format": "text", "systemd-cgroup": "boolean", debug: "boolean",
  rootless: "text", criu: "text", "cgroup-manager": "text", version: "boolean", help: "boolean",
  isolation: "text", cpu: "text", kernel: "text", "vm-cold": "boolean",
} as const;

// biome-ignore format: table
const verbs: Readonly<Record<string, () => Verb | Promise<Verb>>> = {
  create: () => create,
  start: () => start,
  run: () => run,
  kill: () => kill,
  delete: () => remove,
  pause: () => pause,
  resume: () => resume,
  exec: () => exec,
  state: () => state,
  list: () => list,
  ps: () => ps,
  update: () => update,
  events: () => events,
  features: () => features,
  spec: () => spec,
  checkpoint: () => refuseCheckpoint,
  restore: () => refuseCheckpoint,
};

export interface CalledAs {
  /** The name we were executed by. */
  readonly calledAs?: string;
  /** Words that execute this program again. */
  readonly self?: readonly string[];
}

/** `main` for the executable, which may be started to be frozen (frozen/README.md). */
export async function begin(
  words: readonly string[],
  env: Environment,
  { calledAs = "", self }: Required<CalledAs>,
): Promise<number> {
  if (calledAs === frozenNames.maker) return makeImage();
  if (calledAs === frozenNames.subject) {
    const thawed = await freezeHere((words) => main(words, {}));
    return main(thawed.words, thawed.environment, { calledAs: thawed.name, self });
  }
  const status = await main(words, env, { calledAs, self });
  if (leavesImage.some((verb) => words.includes(verb))) leaveImage(env);
  return status;
}

/** Verbs that a thawed process is wanted for. */
const leavesImage = ["create", "run", "exec"];

/** The exit status; messages go to stderr and the log, results to stdout. */
export async function main(
  argv: readonly string[],
  env: Environment,
  { calledAs = "", self = [process.execPath] }: CalledAs = {},
): Promise<number> {
  tellPhases(env["MANYWORLDS_PHASES"]);
  markPhase("javascript");
  let log = new Log(undefined, "text");
  try {
    const options = parseOptions(argv, globalOptions, { v: "version", h: "help" });
    log = new Log(options.text("log") || undefined, readFormat(options.text("log-format")));
    const print = (text: string) => writeFd(1, encodeUtf8(text));
    if (options.flag("version")) {
      print(`manyworlds version ${version}\ncommit: unknown\nspec: ${ociVersion}\n`);
      return 0;
    }
    const [name, ...args] = options.rest;
    if (name === undefined || name === "help" || options.flag("help")) {
      print(usage());
      return 0;
    }
    const load = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (load === undefined) throw new UsageError(`No help topic for '${name}'`);
    const verb = await load();
    if (isHelp(args) && verb !== refuseCheckpoint) {
      print(usage());
      return 0;
    }
    return await verb(args, {
      name,
      calledAs,
      self,
      isolation: readIsolation(options, calledAs),
      env,
      log,
      print,
      stateRoot: options.text("root") || defaultStateRoot(env),
      ...readDriver(options.text("cgroup-manager"), options.flag("systemd-cgroup")),
    });
  } catch (error) {
    return report(error, argv, log);
  }
}

/**
 * Ends the process at once. All has been written by then: our output does not wait in streams; and
 * nobody waits for an orderly end of the JavaScript engine, which would find nothing to do.
 */
export function leave(status: number): never {
  for (;;) syscall("exit_group", status);
}

export const version = "0.1.0";

function isHelp(args: readonly string[]): boolean {
  return args[0] === "--help" || args[0] === "-h";
}

function readFormat(format: string | undefined): "text" | "json" {
  if (format === undefined || format === "" || format === "text") return "text";
  if (format === "json") return "json";
  throw new UsageError(`unknown log-format "${format}"`);
}

/** crun's flag, which Podman uses for "disabled", and runc's. */
function readDriver(manager: string | undefined, systemd: boolean) {
  if (manager !== undefined && !["cgroupfs", "systemd", "disabled"].includes(manager))
    throw new UsageError(`unknown cgroup-manager "${manager}"`);
  return { systemdCgroup: systemd || manager === "systemd", noCgroups: manager === "disabled" };
}

/** The name manyworlds-vm is for engines that can pass a runtime no options. */
function readIsolation(options: ParsedOptionsOf, calledAs: string): IsolationWish {
  const name = calledAs.slice(calledAs.lastIndexOf("/") + 1);
  const named = name.startsWith("manyworlds-vm") ? "vm" : undefined;
  const kernel = options.text("kernel");
  return {
    isolation: oneOf(options, "isolation", ["vm", "container"]) ?? named,
    cpu: oneOf(options, "cpu", ["auto", "kvm", "software"]) ?? "auto",
    ...(kernel && { kernel }),
    ...(options.flag("vm-cold") && { cold: true }),
  };
}

function oneOf<T extends string>(
  options: ParsedOptionsOf,
  name: string,
  values: readonly T[],
): T | undefined {
  const text = options.text(name);
  const value = values.find((each) => each === text);
  if (text && value === undefined)
    throw new UsageError(`unknown ${name} "${text}", expected one of ${values.join(", ")}`);
  return value;
}

function refuseCheckpoint(): never {
  throw new Error("checkpoint and restore need CRIU, which manyworlds does not support yet");
}

function usage(): string {
  return `NAME:\n   manyworlds oci - OCI runtime with runc's command line\n\nUSAGE:\n   manyworlds oci [global options] command [command options] [arguments...]\n\nCOMMANDS:\n${Object.keys(
    verbs,
  )
    .map((name) => `   ${name}\n`)
    .join("")}\nGLOBAL OPTIONS:\n${Object.keys(globalOptions)
    .map((name) => `   --${name}\n`)
    .join("")}`;
}

/** `create` and `run` say which verb failed, as runc does. */
function report(error: unknown, argv: readonly string[], log: Log): number {
  const text = error instanceof Error ? error.message : String(error);
  const verb = argv.find((word) => Object.hasOwn(verbs, word));
  const prefixed =
    (verb === "create" || verb === "run") && !(error instanceof UsageError)
      ? `manyworlds ${verb} failed: ${text}`
      : text;
  log.write("error", prefixed);
  return error instanceof ExitError ? error.exitCode : 1;
}
