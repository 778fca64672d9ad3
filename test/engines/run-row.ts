/** Runs one row with runc and with the runtime under test, and compares what the user saw. */
import { spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Engine, EngineRow } from "./row.ts";

export interface RowResult {
  readonly row: EngineRow;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly reason?: string;
}

let timeoutMs = 60_000;
/** For machines that are slow, such as an emulated one. */
export function setTimeLimit(limitMs: number): void {
  timeoutMs = limitMs;
}

let counter = 0;

const functions = `
wait_for() { n=$(($1 * 10)); shift; while [ $n -gt 0 ]; do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; n=$((n - 1)); done; return 1; }
says() { e logs "$NAME" 2>&1 | grep -q "$1"; }
`;

export async function compareRow(
  row: EngineRow,
  engine: Engine,
  directory: string,
): Promise<RowResult> {
  const reference = await see(row, engine, "reference", directory);
  const isReferenceFit = row.expect.test(reference);
  if (!isReferenceFit && row.referenceFails === undefined)
    return { row, outcome: "failed", reason: `runc: expected ${row.expect}, saw:\n${reference}` };
  const seen = await see(row, engine, "under-test", directory);
  if (!row.expect.test(seen))
    return { row, outcome: "failed", reason: `expected ${row.expect}, saw:\n${seen}` };
  if (isReferenceFit && seen !== reference)
    return { row, outcome: "failed", reason: `with runc:\n${reference}\nsaw:\n${seen}` };
  return { row, outcome: "passed" };
}

/** What the script prints, with what differs from run to run replaced. */
async function see(
  row: EngineRow,
  engine: Engine,
  runtime: "reference" | "under-test",
  directory: string,
): Promise<string> {
  counter += 1;
  const name = `mw-${process.pid}-${counter}`;
  const folder = join(directory, name);
  mkdirSync(folder, { mode: 0o755 });
  const setUp = `NAME=${name}; DIR=${folder}; IMAGE=mw-test:latest; RUNTIME=${runtime}`;
  const cleanUp = `trap 'e rm -f "$NAME" >/dev/null 2>&1 || true' EXIT`;
  const trap = engine.name === "containerd" ? "" : cleanUp;
  const script = [setUp, engine.prelude, functions, trap, row.script].join("\n");
  const raw = await shell(script);
  rmSync(folder, { recursive: true, force: true });
  let text = raw.replaceAll(name, "NAME").replaceAll("under-test", "RUNTIME");
  text = text.replaceAll("reference", "RUNTIME");
  for (const pattern of row.varies ?? []) text = text.replace(pattern, "…");
  return text.trim();
}

/** Standard output and error of a shell script as one text. */
function shell(script: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["-c", `exec 2>&1\n${script}`], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    const timer = setTimeout(() => {
      output += `\n(did not end within ${timeoutMs} ms)`;
      child.kill("SIGKILL");
      child.stdout.destroy();
    }, timeoutMs);
    child.once("error", reject);
    child.once("close", () => {
      clearTimeout(timer);
      resolve(output);
    });
  });
}
