/**
 * `npm run fuzz -- [FOLDER…] [--rounds N] [--seed N]`: the tests named "(fuzz)" for longer than CI
 * runs them, each time from another seed, which is printed so that a failure can be repeated.
 */
import { parseArgs } from "node:util";
import { heading, runVisibly } from "./terminal.ts";
import { mochaCommand, planGroups } from "./test-groups.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "200000" }, seed: { type: "string" } },
});
const seed = values.seed ?? String(Math.floor(Math.random() * 2 ** 31));
const hour = String(60 * 60 * 1000);

heading(`Fuzzing from seed ${seed}, ${values.rounds} rounds of each`);
let failed = 0;
for (const group of planGroups(positionals)) {
  if (group.engine === "bun") continue;
  const { command, args } = mochaCommand(group, ["--grep", "\\(fuzz\\)", "--timeout", hour]);
  const env = {
    ...process.env,
    MANYWORLDS_FUZZ_SEED: seed,
    MANYWORLDS_FUZZ_RUNS: values.rounds,
    FUZZ_SEED: seed,
    FUZZ_ROUNDS: values.rounds,
    FUZZ_TURNS: values.rounds,
  };
  if ((await runVisibly(command, args, { env })) !== 0) failed += 1;
}
process.exitCode = failed === 0 ? 0 : 1;
