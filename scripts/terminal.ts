/**
 * What our scripts print: colours when a terminal reads them, and one line per finished step.
 */
import { spawn } from "node:child_process";

const coloured = process.stderr.isTTY === true && !process.env["NO_COLOR"];

function paint(code: number): (text: string) => string {
  return (text) => (coloured ? `\x1b[${code}m${text}\x1b[0m` : text);
}

export const style = {
  bold: paint(1),
  dim: paint(2),
  red: paint(31),
  green: paint(32),
  yellow: paint(33),
};

export function heading(text: string): void {
  console.error(`${style.bold("==>")} ${style.bold(text)}`);
}

export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Runs a command whose output the user sees, and returns its exit status (128+n for a signal). */
export function runVisibly(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", 2, 2] });
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(signal === null ? (code ?? 1) : 128));
  });
}

/** Runs one step under a heading, says how long it took, and returns whether it succeeded. */
export async function step(title: string, run: () => Promise<number>): Promise<boolean> {
  heading(title);
  const started = performance.now();
  const status = await run();
  const took = formatSeconds(performance.now() - started);
  console.error(status === 0 ? style.green(`ok, ${took}`) : style.red(`failed, ${took}`));
  return status === 0;
}
