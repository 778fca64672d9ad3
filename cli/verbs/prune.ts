/** `manyworlds prune` and `manyworlds image prune`. */
import { createInterface } from "node:readline/promises";
import { storeOperations } from "../../engine/index.ts";
import type { Handler, Parsed } from "../command.ts";
import { UsageError } from "../errors.ts";
import { formatSize } from "../output/units.ts";
import type { imagePruneFlags, pruneFlags } from "../table/image.ts";

export const prune: Handler<typeof pruneFlags> = async ({ values }, { root }) => {
  const images = values.all ? "all images that no container uses" : "all images without a name";
  const what = [
    "all containers that have ended",
    images,
    "all unfinished downloads",
    "all snapshots of virtual machines",
  ];
  if (!(await confirmed("prune", what, values.force))) return 0;
  return report(root, values, true);
};

export const imagePrune: Handler<typeof imagePruneFlags> = async ({ values }, { root }) => {
  const what = values.all ? "all images that no container uses" : "all images without a name";
  if (!(await confirmed("image prune", [what], values.force))) return 0;
  return report(root, values, false);
};

async function report(
  root: string | undefined,
  { all }: Parsed<typeof pruneFlags>["values"],
  containers: boolean,
): Promise<number> {
  const operations = await storeOperations();
  const pruned = await operations.pruneAll(root, { all, containers });
  const lines = [
    ...pruned.containers.map((id) => `Deleted container: ${id}`),
    ...pruned.untagged.map((name) => `Untagged: ${name}`),
    ...[...new Set(pruned.deleted)].map((id) => `Deleted: ${id}`),
    ...(pruned.snapshots > 0 ? [`Deleted snapshots of machines: ${pruned.snapshots}`] : []),
    `Total reclaimed space: ${formatSize(pruned.reclaimedBytes)}`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return 0;
}

async function confirmed(
  command: string,
  what: readonly string[],
  force: boolean,
): Promise<boolean> {
  if (force) return true;
  if (process.stdin.isTTY !== true) {
    throw new UsageError(command, "Cannot ask: standard input is not a terminal", {
      hint: "say --force when nobody is there to answer",
    });
  }
  process.stderr.write(`This removes:\n${what.map((each) => `  - ${each}\n`).join("")}`);
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await reader.question("Continue? [y/N] ")).trim());
  } finally {
    reader.close();
  }
}
