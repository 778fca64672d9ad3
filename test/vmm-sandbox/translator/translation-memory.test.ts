/** Memory for translations is bounded and given back, on both engines. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { bunExecutable } from "../../../scripts/bun.ts";

const script = fileURLToPath(new URL("translation-memory.ts", import.meta.url));
const rounds = 96;

type Result = {
  readonly residentMiB: readonly number[];
  readonly modules: number;
  readonly kept: number;
  readonly compiled: number;
  readonly flushes: number;
};

const engines = [
  ["Node", [process.execPath, "--expose-gc", "--import", "tsx"]],
  ["Bun", [bunExecutable()]],
] as const;

describe("memory for translations", () => {
  for (const [name, [command = "", ...args]] of engines)
    it(`is given back on ${name} by a guest that never stops writing code`, function () {
      this.timeout(180_000);
      const text = execFileSync(command, [...args, script, `${rounds}`], { encoding: "utf8" });
      // SAFE: the script prints this and nothing else.
      const { residentMiB, modules, kept, compiled, flushes } = JSON.parse(text) as Result;
      const told = text.trim();
      assert.ok(flushes > 3 && modules >= rounds, `everything was dropped a few times: ${told}`);
      assert.ok(kept < modules / 2, `instances of dropped modules are freed: ${told}`);
      if (name !== "Bun") return; // V8 collects by itself
      // Emitting alone makes 3 KiB of objects per instruction.
      const growth = Math.max(...residentMiB.slice(1)) - (residentMiB[1] ?? 0);
      assert.ok(growth < (compiled * 1024) / 2 ** 20, `most garbage is collected: ${told}`);
    });
});
