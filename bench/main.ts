/**
 * `npm run bench`: our commands beside their peers, in one run, as ratios. `npm run bench -- pull`
 * runs one bench, `--quick` fewer rounds. Benches report; they never fail a test run.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { machineFacts, spreadOf } from "../compare/index.ts";
import { installPackages } from "../scripts/apt-packages.ts";
import { heading, style } from "../scripts/terminal.ts";
import { type Bench, formatReport, formatVerdict, type Report } from "./report.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Name on the command line → module, loaded when it is its turn. */
const benches: Readonly<Record<string, () => Promise<{ readonly bench: Bench }>>> = {
  "start-up": () => import("./start-up.ts"),
  "bundle-run": () => import("./bundle-run.ts"),
  lifecycle: () => import("./lifecycle.ts"),
  "image-run": () => import("./image-run.ts"),
  pull: () => import("./pull.ts"),
  many: () => import("./many.ts"),
  "cpu-boot": () => import("./cpu-boot.ts"),
  "vm-start": () => import("./vm-start.ts"),
  "vm-compare": () => import("./vm-compare.ts"),
  "build-flags": () => import("./build-flags.ts"),
};

async function main(args: readonly string[]): Promise<number> {
  const names = args.filter((word) => word !== "--quick");
  const options = { quick: args.includes("--quick") };
  const unknown = names.filter((name) => !(name in benches));
  if (unknown.length > 0) {
    const known = Object.keys(benches).join(", ");
    console.error(`Unknown bench "${unknown[0]}": expected one of ${known}`);
    return 2;
  }
  if (!existsSync(`${root}dist/manyworlds`)) {
    console.error('Cannot find dist/manyworlds: run "npm run build" first');
    return 2;
  }
  installPackages("bench");
  const facts = machineFacts();
  for (const [name, value] of Object.entries(facts)) console.log(`${name.padEnd(10)} ${value}`);
  const reports: Report[] = [];
  for (const [name, load] of Object.entries(benches)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const { bench } = await load();
    heading(bench.title);
    try {
      for (const report of await bench.run(options)) {
        reports.push(report);
        console.log(`\n${formatReport(report)}`);
      }
    } catch (error) {
      console.error(style.red(`${name}: ${error instanceof Error ? error.message : error}`));
    }
  }
  for (const line of ["", ...formatVerdict(reports)]) console.log(line);
  console.log(`Samples are in ${save(facts, reports)}`);
  return 0;
}

function save(facts: object, reports: readonly Report[]): string {
  const folder = `${root}.cache/bench`;
  mkdirSync(folder, { recursive: true });
  const file = `results-${new Date().toISOString().replaceAll(":", "")}.json`;
  const results = reports.map((report) => ({
    ...report,
    medians: Object.fromEntries(
      report.measured.samples.map(({ name, ms }) => [name, spreadOf(ms).median]),
    ),
  }));
  writeFileSync(`${folder}/${file}`, JSON.stringify({ facts, results }, null, 2));
  return `.cache/bench/${file}`;
}

process.exitCode = await main(process.argv.slice(2));
