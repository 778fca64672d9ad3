/**
 * The command's entry. Start-up is sacred: `oci` (or the name manyworlds-oci) goes to the runtime
 * before anything else of the command line is loaded, and each verb loads only its own code. No
 * node: module is imported here: "node:path" alone takes 0.4 ms.
 */
import { self } from "./self.ts";

/** As vmm-sandbox/monitor/monitor-command.ts has it, which is too much to load here. */
const MONITOR_VERB = "vm-monitor";
/** As runtime/machine/verbs.ts has them. */
const [KEEPER_VERB, RELAY_VERB] = ["vm-keeper", "vm-relay"];
/** Words of the command line after the program's own name. */
const words = process.argv.slice(2);

process.exitCode = await start();

async function start(): Promise<number> {
  if (words[0] === "oci") return runtime(words.slice(1));
  const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
  if (name.startsWith("manyworlds-oci") || name.startsWith("manyworlds-vm")) return runtime(words);
  if (words[0] === MONITOR_VERB) return monitor(Number(words[1]));
  if (words[0] === KEEPER_VERB || words[0] === RELAY_VERB) return inMachine(words);
  const { runCommandLine } = await import("./command-line.ts");
  return runCommandLine(words);
}

/** The confined process of a virtual machine, which the engine starts; no help shows it. */
async function monitor(fd: number): Promise<number> {
  const { runMonitor } = await import("../vmm-sandbox/index.ts");
  await runMonitor(fd);
  process.exit(0);
}

/** What stands for a container in a machine, and for a process there; no help shows them either. */
async function inMachine([verb, ...args]: readonly string[]): Promise<number> {
  const { keepMachine, relayInMachine } = await import("../engine/index.ts");
  const [first = "", second = ""] = args;
  const isKeeper = verb === KEEPER_VERB;
  process.exit(await (isKeeper ? keepMachine(first, second) : relayInMachine(Number(first))));
}

async function runtime(args: readonly string[]): Promise<number> {
  const { begin, leave } = await import("../runtime/oci-main.ts");
  return leave(await begin(args, process.env, { calledAs: process.argv0, self: self() }));
}
