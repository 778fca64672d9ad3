import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { BuiltDoor } from "./built-door.ts";
import { cannotRunContainers } from "./sandbox.ts";

/** The door in front of the real executable, compiled plainly for the occasion. */
describe("run through the door", function () {
  this.timeout(120_000);
  let sandbox: BuiltDoor;
  let door: string;
  before(function () {
    if (cannotRunContainers() !== undefined) {
      console.log(`    skipped: ${cannotRunContainers()}`);
      this.skip();
    }
    sandbox = new BuiltDoor();
    ({ door } = sandbox);
  });
  after(() => sandbox?.[Symbol.dispose]());

  const words = (...more: readonly string[]) => sandbox.words(sandbox.id, more);
  const bundle: BuiltDoor["configure"] = (...args) => sandbox.configure(...args);
  const run = (...more: readonly string[]) => spawnSync(door, words(...more), { encoding: "utf8" });
  const left = () => (existsSync(sandbox.stateRoot) ? readdirSync(sandbox.stateRoot) : []);

  it("ends as the command does, and nothing is left when it returns", () => {
    bundle("echo out; echo err >&2; exit 7");
    const { status, stdout, stderr } = run();
    assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: "out\n", stderr: "err\n" });
    assert.deepEqual(left(), []);
  });

  it("ends with 128 and the signal that ended the command", () => {
    bundle("sh -c 'kill -9 $$'; exit $?");
    assert.equal(run().status, 137);
  });

  it("passes signals on to the command", async () => {
    bundle('trap "exit 5" USR1; echo ready; while :; do sleep 0.1; done');
    const child = spawn(door, words());
    await once(child.stdout, "data");
    child.kill("SIGUSR1");
    assert.deepEqual(await once(child, "close"), [5, null]);
    assert.deepEqual(left(), []);
  });

  it("passes signals on while the executable looks after the container itself", async () => {
    const hooks = { poststop: [{ path: "/bin/true" }] };
    bundle('trap "exit 6" TERM; echo ready; while :; do sleep 0.1; done', (config) => ({
      ...config,
      hooks,
    }));
    const child = spawn(door, words());
    await once(child.stdout, "data");
    await setTimeout(100);
    child.kill("SIGTERM");
    assert.deepEqual(await once(child, "close"), [6, null]);
    assert.deepEqual(left(), []);
  });

  it("is all that waits for the container", async () => {
    bundle("echo ready; sleep 100");
    const child = spawn(door, words());
    await once(child.stdout, "data");
    const children = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
    // The executable may still be on its way out.
    while (children().trim().split(" ").length > 1) await setTimeout(10);
    const remove = ["--root", sandbox.stateRoot, "delete", "--force", sandbox.id];
    assert.equal(spawnSync(door, remove).status, 0);
    assert.deepEqual(await once(child, "close"), [137, null]);
    assert.deepEqual(left(), []);
  });

  it("says why a command does not run, and leaves nothing", () => {
    bundle("", (config) => ({
      ...config,
      process: { cwd: "/", ...config.process, args: ["/no/such/command"] },
    }));
    const { status, stderr } = run();
    assert.equal(status, 1);
    assert.match(stderr, /stat \/no\/such\/command: no such file or directory/);
    assert.deepEqual(left(), []);
  });

  it("leaves the container with --keep and with --detach", () => {
    bundle("exit 3");
    assert.equal(run("--keep").status, 3);
    assert.deepEqual(left(), [sandbox.id]);
    const remove = ["--root", sandbox.stateRoot, "delete", "--force", sandbox.id];
    assert.equal(spawnSync(door, remove).status, 0);
    bundle("sleep 100");
    const pidFile = join(sandbox.directory, "pid");
    // With pipes we would wait for the container, which has them too.
    const detached = spawnSync(door, words("--detach", "--pid-file", pidFile), { stdio: "ignore" });
    assert.equal(detached.status, 0);
    const stat = readFileSync(`/proc/${readFileSync(pidFile, "utf8")}/stat`, "utf8");
    assert.match(stat, /\(sh\)|\(sleep\)/);
    assert.equal(spawnSync(door, remove).status, 0);
    assert.deepEqual(left(), []);
  });

  it("needs no helper of its own where its descriptor is taken", () => {
    bundle("exit 4");
    const line = `exec 200</dev/null; exec ${door} ${words().join(" ")}`;
    assert.equal(spawnSync("bash", ["-c", line]).status, 4);
    assert.deepEqual(left(), []);
  });

  it("stops the executable when the door is killed before it is done", async () => {
    const mark = join(sandbox.directory, "hook-runs");
    const hooks = {
      createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", `echo > ${mark}; sleep 100`] }],
    };
    bundle("true", (config) => ({ ...config, hooks }));
    const child = spawn(door, words(), { stdio: "ignore" });
    while (!existsSync(mark)) await setTimeout(10);
    child.kill("SIGKILL");
    await once(child, "close");
    const remove = ["--root", sandbox.stateRoot, "delete", "--force", sandbox.id];
    assert.equal(spawnSync(door, remove).status, 0);
    assert.deepEqual(left(), []);
  });
});
