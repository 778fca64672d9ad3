/** `npm run fuzz:cpu -- [seed] [rounds] [tier] [mnemonic]`, tier interpreter or jit: every row, again and again, until the rounds are done. */
import { Differential } from "./differential.ts";
import { testedRows } from "./vectors.ts";

const seed = Number(process.argv[2] ?? 1);
const rounds = Number(process.argv[3] ?? 20);
const tier = process.argv[4] ?? "interpreter";
const only = process.argv[5];
const differential = await Differential.open(seed, tier === "jit" ? 1 : 2 ** 30);
const start = performance.now();
const failures = new Map<string, string[]>();
for (let round = 0; round < rounds; round++)
  for (const row of testedRows) {
    if (only && row.mnemonic !== only) continue;
    if ((failures.get(row.text)?.length ?? 0) >= 2) continue;
    if (process.env["TRACE"]) console.error(row.text);
    const difference = differential.run(row, 64);
    if (difference) failures.set(row.text, [...(failures.get(row.text) ?? []), difference.text]);
  }
for (const [row, texts] of failures) console.log(`${row}\n    ${texts.join("\n    ")}`);
const seconds = (performance.now() - start) / 1000;
console.log(
  `${differential.vectors} vectors (${differential.faults} faulting), ${testedRows.length} rows, ` +
    `${differential.regions} regions, ${failures.size} rows differ, seed ${seed}, ${seconds.toFixed(1)} s`,
);
process.exit(failures.size > 0 ? 1 : 0);
