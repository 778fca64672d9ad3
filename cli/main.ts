/**
 * The command's entry. Start-up is sacred: `oci` (or the name manyworlds-oci) goes to the runtime
 * before anything else of the command line is loaded, and each verb loads only its own code. No
 * node: module is imported here: "node:path" alone takes 0.4 ms.
 */

/** As vmm-sandbox/monitor/monitor-command.ts has it, which is too much to load here. */
const MONITOR_VERB = "vm-monitor";
/** Words of the command line after the program's own name. */
const words = process.argv.slice(2);

process.exitCode = await start();

async function start(): Promise<number> {
  if (words[0] === "oci") return runtime(words.slice(1));
  const name = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);
  if (name.startsWith("manyworlds-oci")) return runtime(words);
  if (words[0] === MONITOR_VERB) return monitor(Number(words[1]));
  const { runCommandLine } = await import("./command-line.ts");
  return runCommandLine(words);
}

/** The confined process of a virtual machine, which the engine starts; no help shows it. */
async function monitor(fd: number): Promise<number> {
  const { runMonitor } = await import("../vmm-sandbox/index.ts");
  await runMonitor(fd);
  process.exit(0);
}

async function runtime(args: readonly string[]): Promise<number> {
  const { begin, leave } = await import("../runtime/oci-main.ts");
  return leave(await begin(args, process.env, process.argv0));
}
