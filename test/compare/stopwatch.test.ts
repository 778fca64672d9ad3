import assert from "node:assert/strict";
import { findProgram, timeCommand } from "../../compare/stopwatch.ts";

const shell = (script: string) => ["sh", "-c", script];

describe("timeCommand()", () => {
  it("times the first output and the whole command", () => {
    const { firstOutputMs, wholeMs } = timeCommand({
      command: shell("sleep 0.1; echo a; sleep 0.2"),
    });
    assert.ok(firstOutputMs !== undefined && firstOutputMs >= 100, `${firstOutputMs}`);
    assert.ok(wholeMs >= firstOutputMs + 190, `${wholeMs} ${firstOutputMs}`);
  });
  it("keeps what the command says, and its status", () => {
    const timing = timeCommand({ command: shell("echo out; echo err >&2; exit 3") });
    assert.equal(timing.stdout, "out\n");
    assert.equal(timing.stderr, "err\n");
    assert.equal(timing.status, 3);
    assert.equal(timeCommand({ command: shell("kill -TERM $$") }).status, 143);
  });
  it("knows when nothing was said", () => {
    assert.equal(timeCommand({ command: ["true"] }).firstOutputMs, undefined);
  });
  it("reads more than it keeps", () => {
    const { stdout, status } = timeCommand({ command: shell("yes | head -c 300000") });
    assert.equal(status, 0);
    assert.equal(stdout, "y\n".repeat(32 * 1024));
  });
  it("counts the processor's time", () => {
    const script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    const { cpuMs, wholeMs } = timeCommand({ command: shell(script) });
    assert.ok(cpuMs > 10 && cpuMs <= wholeMs + 20, `${cpuMs} ${wholeMs}`);
  });
  it("kills a command that takes too long", () => {
    const { timedOut, status, wholeMs } = timeCommand({ command: ["sleep", "20"], timeoutMs: 100 });
    assert.ok(timedOut && status === 137 && wholeMs < 10_000);
  });
  it("gives it the environment that it is told to, and no descriptor of ours but its stderr", () => {
    const { stdout } = timeCommand({
      command: shell("echo $ONLY; ls -l /proc/self/fd | grep -c memfd"),
      env: { ONLY: "this", PATH: process.env["PATH"], GONE: undefined },
    });
    assert.equal(stdout.replace(/\s+/g, " "), "this 1 ");
  });
  it("becomes another user when it may", function () {
    if (process.getuid?.() !== 0) {
      console.log("      skipped: only root can become somebody else");
      this.skip();
    }
    const { stdout } = timeCommand({ command: ["id"], user: 65534 });
    assert.match(stdout, /^uid=65534\S* gid=65534\S* groups=65534\S*\n$/);
  });
  it("says which program does not exist", () => {
    assert.throws(() => timeCommand({ command: ["no-such-program"] }), /"no-such-program".*PATH/);
    assert.throws(() => findProgram("/no/such"), /"\/no\/such": no such file/);
  });
});
