/**
 * `npm test`: everything that must hold before a change lands.
 *
 * Installs what the tests need, builds, then lint, types, imports, and the mocha suites, one process per
 * folder of test/ and JavaScript engine, so that a crash in native code costs one folder. The last
 * line is always "N passed, N failed, N skipped"; a failed lint, type or import check, and a
 * process that dies, count as one failed test each.
 *
 * `npm test -- oci linux` runs the mocha suites of these folders only. "kvm" among them is
 * `npm run test:kvm`, Linux under our monitor in an emulated machine with KVM; it comes last.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPackages } from "./apt-packages.ts";
import type { TestCounts } from "./mocha-reporter.ts";
import { heading, runVisibly, step, style } from "./terminal.ts";
import { mochaCommand, planGroups, type TestGroup } from "./test-groups.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Title and the arguments of node. */
type Check = readonly [string, readonly string[]];

const staticChecks: readonly Check[] = [
  ["Format and lint", ["node_modules/@biomejs/biome/bin/biome", "check", "."]],
  ["Types", ["node_modules/typescript/bin/tsc", "-p", "."]],
  ["Imports and file sizes", ["--import", "tsx", "scripts/check-imports.ts"]],
];

/** Machines are tested where there is a kernel to boot; built once for each configuration. */
const guestKernel: Check = ["Guest kernel", ["--import", "tsx", "scripts/guest-kernel.ts"]];

interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

const nested: Command = {
  command: process.execPath,
  args: ["--import", "tsx", "scripts/test-kvm.ts"],
};

async function main(only: readonly string[]): Promise<number> {
  heading("Debian packages that tests need");
  const missing = installPackages("test");
  if (missing.length > 0) {
    console.error(style.yellow("Tests that need them will be counted as skipped."));
  }
  let total: TestCounts = { passed: 0, failed: 0, skipped: 0, finished: true };
  // The executable first: the suites of the runtime and the engines test what is shipped.
  total = add(total, await runChecks([["Build", ["--import", "tsx", "scripts/build.ts"]]]));
  if (only.length === 0) total = add(total, await runChecks([...staticChecks, guestKernel]));
  const groups = planGroups(only);
  const withKvm = only.length === 0 || only.includes("kvm");
  if (groups.length === 0 && !withKvm) {
    console.error(style.red(`No tests in: ${only.join(" ")}`));
    total = add(total, { passed: 0, failed: 1, skipped: 0, finished: true });
  }
  for (const group of groups) total = add(total, await runGroup(group));
  if (withKvm) total = add(total, await runCounted("Linux on KVM, in an emulated machine", nested));
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed === 0 ? 0 : 1;
}

async function runChecks(checks: readonly Check[]): Promise<TestCounts> {
  let failed = 0;
  for (const [title, args] of checks) {
    if (!(await step(title, () => runVisibly(process.execPath, args, { cwd: root })))) failed += 1;
  }
  return { passed: checks.length - failed, failed, skipped: 0, finished: true };
}

function runGroup(group: TestGroup): Promise<TestCounts> {
  return runCounted(`test/${group.folder} on ${group.engine}`, mochaCommand(group));
}

/** Runs a command that writes its counts to the file which MANYWORLDS_TEST_COUNTS names. */
async function runCounted(title: string, { command, args }: Command): Promise<TestCounts> {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-counts-"));
  const countsFile = join(directory, "counts.json");
  try {
    let status = 0;
    await step(title, async () => {
      const env = { ...process.env, MANYWORLDS_TEST_COUNTS: countsFile };
      status = await runVisibly(command, args, { cwd: root, env });
      return status;
    });
    return judge(readCounts(countsFile), status);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function readCounts(file: string): TestCounts | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as TestCounts;
  } catch {
    return undefined; // The process died before its first suite ended, or a file did not load.
  }
}

/** A process that failed without a failed test (it crashed, or a file did not load) counts as one. */
function judge(counts: TestCounts | undefined, status: number): TestCounts {
  const known = counts ?? { passed: 0, failed: 0, skipped: 0, finished: false };
  const died = status !== 0 && known.failed === 0;
  return died || !known.finished ? { ...known, failed: known.failed + 1 } : known;
}

function add(a: TestCounts, b: TestCounts): TestCounts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    finished: true,
  };
}

process.exitCode = await main(process.argv.slice(2));
