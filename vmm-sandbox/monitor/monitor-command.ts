/** How a monitor's process is started from wherever we run. */
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface MonitorCommand {
  readonly executable: string;
  /** With the program's name first; the descriptor's number is still to come. */
  readonly args: readonly string[];
  /** What it must be able to read. */
  readonly readable: readonly string[];
  readonly fromSource: boolean;
}

/** The executable's verb, which no help shows. */
export const MONITOR_VERB = "vm-monitor";

export function monitorCommand(here: string = import.meta.url): MonitorCommand {
  if (here.includes("/$bunfs/"))
    return {
      executable: process.execPath,
      args: ["manyworlds", MONITOR_VERB],
      readable: [],
      fromSource: false,
    };
  const fromSource = here.endsWith(".ts");
  const folder = dirname(fileURLToPath(here));
  const entry = join(folder, `monitor-worker${fromSource ? ".ts" : ".js"}`);
  const executable = "Bun" in globalThis || !fromSource ? process.execPath : bunBeside(here);
  return {
    executable,
    args: [basename(executable), entry],
    readable: readableFrom(fromSource ? join(folder, "../..") : folder, here),
    fromSource,
  };
}

/** Node would need tsx for our sources, and that a compiler's process; Bun reads them itself. */
function bunBeside(here: string): string {
  const require = createRequire(here);
  return join(dirname(require.resolve("bun/package.json")), "bin/bun.exe");
}

/** Our own files, and the packages that they import. */
function readableFrom(root: string, here: string): readonly string[] {
  const beside = join(root, "node_modules");
  const folders = existsSync(beside) ? [realpathSync(beside)] : [];
  // Beside the library on Node there may be another folder of packages, with the driver in it.
  if (!here.endsWith(".ts") && !("Bun" in globalThis)) {
    const driver = createRequire(here).resolve("koffi");
    folders.push(driver.replace(/(.*\/node_modules)\/.*/, "$1"));
  }
  return [...new Set([root, ...folders])];
}
