/**
 * `npm run fuzz:cpu -- [seed] [rounds] [tier] [mnemonic]`, tier interpreter, jit or faults: every row
 * of the instruction table, again and again, until the rounds are done. Faults run on both tiers.
 */
import { Differential } from "./differential.ts";
import { maxBatch } from "./host-cpu.ts";
import { runFaultComparison } from "./run-faulting.ts";
import { compareTranscendental } from "./transcendental.ts";
import { testedRows } from "./vectors.ts";

const seed = Number(process.argv[2] ?? 1);
const rounds = Number(process.argv[3] ?? 20);
const tier = process.argv[4] ?? "interpreter";
const only = process.argv[5];
const start = performance.now();
const seconds = (): string => ((performance.now() - start) / 1000).toFixed(1);

if (tier === "faults") fuzzFaults();
else await fuzzTier();

function fuzzFaults(): never {
  const { vectors, faults, differences } = runFaultComparison({ seed, rounds, only });
  for (const difference of differences) console.log(difference);
  const counts = Object.entries(faults).map(([vector, times]) => `${vector}: ${times}`);
  console.log(
    `${vectors} vectors (exceptions ${counts.join(", ")}), ${differences.length} differ, seed ${seed}, ${seconds()} s`,
  );
  process.exit(differences.length > 0 ? 1 : 0);
}

async function fuzzTier(): Promise<never> {
  const isCompiled = tier === "jit";
  const differential = await Differential.open(seed, isCompiled ? 1 : 2 ** 30);
  const failures = new Map<string, string[]>();
  // Compiling one instruction costs as much as running it a thousand times.
  const batch = isCompiled ? maxBatch : 64;
  for (let round = 0; round < rounds; round++) {
    for (const row of testedRows) {
      if (only && row.mnemonic !== only) continue;
      if ((failures.get(row.text)?.length ?? 0) >= 2) continue;
      if (process.env["TRACE"]) console.error(row.text);
      const difference = differential.run(row, batch);
      if (difference) failures.set(row.text, [...(failures.get(row.text) ?? []), difference.text]);
    }
    // A run that is ended early has still shown something.
    console.error(
      `round ${round + 1}: ${differential.vectors} vectors, ${failures.size} rows differ`,
    );
  }
  const functions = only ? [] : await compareTranscendental(seed, Math.ceil(rounds / 4));
  if (functions.length > 0) failures.set("transcendental functions", functions.slice(0, 5));
  for (const [row, texts] of failures) console.log(`${row}\n    ${texts.join("\n    ")}`);
  console.log(
    `${differential.vectors} vectors (${differential.faults} faulting), ${testedRows.length} rows, ` +
      `${differential.regions} regions, ${failures.size} rows differ, seed ${seed}, ${seconds()} s`,
  );
  process.exit(failures.size > 0 ? 1 : 0);
}
