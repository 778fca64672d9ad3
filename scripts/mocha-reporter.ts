/**
 * A mocha reporter for many files: one line per top-level suite, failures in full, and each
 * skipped test by name. After every suite it writes the counts to a file, so that a process that
 * dies half-way (native code can do that) does not take what it had found with it.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Runner, Suite, Test } from "mocha";
import { formatSeconds, style } from "./terminal.ts";

// mocha loads reporters with require(); its own classes come from the same copy.
const { reporters, Runner: MochaRunner } = createRequire(import.meta.url)(
  "mocha",
) as typeof import("mocha");
const events = MochaRunner.constants;

const exitGraceMs = 5_000;

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** False while tests still run. */
  readonly finished: boolean;
}

interface MutableCounts {
  passed: number;
  failed: number;
  skipped: number;
}

export default class SuiteReporter {
  private readonly total: MutableCounts = { passed: 0, failed: 0, skipped: 0 };
  private suite: MutableCounts = { passed: 0, failed: 0, skipped: 0 };
  private suiteStarted = 0;
  private readonly failures: Test[] = [];
  private readonly countsFile = process.env["MANYWORLDS_TEST_COUNTS"];

  constructor(runner: Runner) {
    runner.on(events.EVENT_SUITE_BEGIN, (suite) => this.suiteBegins(suite));
    runner.on(events.EVENT_SUITE_END, (suite) => this.suiteEnds(suite));
    runner.on(events.EVENT_TEST_PASS, (test) => this.passed(test));
    runner.on(events.EVENT_TEST_PENDING, (test) => this.skipped(test));
    runner.on(events.EVENT_TEST_FAIL, (test, error) => this.failed(test, error));
    runner.once(events.EVENT_RUN_END, () => this.end());
  }

  private count(what: keyof MutableCounts): void {
    this.total[what] += 1;
    this.suite[what] += 1;
  }

  private suiteBegins(suite: Suite): void {
    if (suite.parent?.root !== true) return;
    this.suite = { passed: 0, failed: 0, skipped: 0 };
    this.suiteStarted = performance.now();
  }

  private suiteEnds(suite: Suite): void {
    if (suite.parent?.root !== true) return;
    const mark = this.suite.failed === 0 ? style.green("ok  ") : style.red("FAIL");
    const took = formatSeconds(performance.now() - this.suiteStarted);
    const skips = this.suite.skipped === 0 ? "" : `, ${this.suite.skipped} skipped`;
    const fails = this.suite.failed === 0 ? "" : `, ${this.suite.failed} failed`;
    const counts = `${this.suite.passed} passed${fails}${skips}`;
    console.error(`  ${mark} ${suite.title} ${style.dim(`${counts}, ${took}`)}`);
    this.writeCounts(false);
  }

  /** With MANYWORLDS_TEST_NAMES each is named, so that silence tells which one hangs. */
  private passed(test: Test): void {
    this.count("passed");
    if (process.env["MANYWORLDS_TEST_NAMES"] === undefined) return;
    console.error(`  pass ${test.title} ${style.dim(formatSeconds(test.duration ?? 0))}`);
  }

  private skipped(test: Test): void {
    this.count("skipped");
    console.error(style.yellow(`  skip ${test.fullTitle()}`));
  }

  private failed(test: Test, error: Error): void {
    this.count("failed");
    // Base.list reads the error from the test; a hook that failed carries none by itself.
    test.err ??= error;
    this.failures.push(test);
    console.error(style.red(`  fail ${test.fullTitle()}: ${error.message?.split("\n")[0]}`));
  }

  private end(): void {
    if (this.failures.length > 0) reporters.Base.list(this.failures);
    this.writeCounts(true);
    // What a test left open would keep this process, and npm test with it, waiting for ever.
    setTimeout(() => {
      const open = new Map<string, number>();
      for (const name of process.getActiveResourcesInfo?.() ?? []) {
        open.set(name, (open.get(name) ?? 0) + 1);
      }
      const names = [...open].map(([name, count]) => `${count} ${name}`).join(", ");
      console.error(style.yellow(`  left open after the last test: ${names}`));
      process.exit(this.total.failed === 0 ? 0 : 1);
    }, exitGraceMs).unref();
  }

  private writeCounts(finished: boolean): void {
    if (this.countsFile === undefined) return;
    writeFileSync(this.countsFile, JSON.stringify({ ...this.total, finished }));
  }
}
