/** `--cpu-stats` and `--cpu-stats=FILE`: a table on standard error, JSON in the file. */
import { writeFileSync } from "node:fs";
import type { MachineStats } from "../../engine/index.ts";
import { UsageError } from "../errors.ts";

/**
 * What a verb passes on so that statistics are shown; nothing when the flag was not given. A file
 * that cannot be written is found before the machine starts.
 */
export function statsRequest(
  verb: string,
  file: string | undefined,
): { onStats?: (stats: MachineStats) => Promise<void> } {
  if (file === undefined) return {};
  if (file !== "") write(verb, file, "");
  return {
    onStats: async (stats) => {
      const { formatStats } = await import("../output/cpu-report.ts");
      process.stderr.write(formatStats(stats));
      if (file !== "") write(verb, file, `${JSON.stringify(stats, undefined, 2)}\n`);
    },
  };
}

function write(verb: string, file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new UsageError(verb, `Cannot write "${file}": ${(cause as Error).message}`, {
      hint: "name a file in a folder that exists and that you may write to",
    });
  }
}
