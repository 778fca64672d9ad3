/**
 * Finds the first place where two tiers of the software CPU differ while Linux boots:
 *
 *   tsx lockstep/main.ts [--reference T] [--suspect T] [--init FILE] [--memory MiB] [--quiet]
 *
 * T: interpreter, at-once (each run when it is first entered), early (200 entries), usual (4000). FILE is
 * a script for busybox's sh, which ends with poweroff.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { bootOf, init, missing } from "../run-linux.ts";
import { compareTiers } from "./lockstep.ts";
import { tierOf } from "./tiers.ts";
import { TracedMachine } from "./traced-machine.ts";

const { values } = parseArgs({
  options: {
    reference: { type: "string", default: "interpreter" },
    suspect: { type: "string", default: "usual" },
    init: { type: "string" },
    memory: { type: "string", default: "128" },
    quiet: { type: "boolean", default: false },
  },
});

if (missing.length > 0)
  throw new Error(`Cannot boot Linux without ${missing.join(" and ")}: see npm run guest:kernel`);
const script = values.init === undefined ? init : readFileSync(values.init, "utf8");
const boot = bootOf(script, Number(values.memory) << 20);
const [reference, suspect] = [tierOf(values.reference), tierOf(values.suspect)];
const start = performance.now();
const found = compareTiers(
  () => [new TracedMachine(boot, reference), new TracedMachine(boot, suspect)],
  values.quiet ? {} : { report: (line) => console.error(line) },
);
console.log(
  `${reference.name} and ${suspect.name}, ${((performance.now() - start) / 1000).toFixed(0)} s`,
);
if (found.kind === "agreement") {
  const { events, gates, regions, ended } = found;
  console.log(
    `no difference: ${events} events, ${gates} gates, ${regions} regions, ended with ${ended}`,
  );
} else {
  console.log(`equal at gate ${found.gate}, then ${found.what}; the first difference, after`);
  for (const line of [...found.code, ...found.values.map((value) => `  ${value}`)])
    console.log(`  ${line}`);
  process.exitCode = 1;
}
