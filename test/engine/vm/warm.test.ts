/** `run --isolation vm`: the second machine made alike starts from a snapshot of the first. */
import assert from "node:assert/strict";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Outcome, World } from "../../cli/end-to-end/world.ts";
import { guestKernel } from "./guest-kernel.ts";
import { useMachineWorld } from "./machine-world.ts";

describe("machines from snapshots", function () {
  this.timeout(180_000);
  const suite = useMachineWorld();
  let world: World;

  before(() => {
    world = suite.get();
    mkdirSync(world.path("kernel"));
    copyFileSync(join(guestKernel(), "bzImage"), world.path("kernel/bzImage"));
  });

  const folder = () => join(world.root, "vm-snapshots");
  const names = () => (existsSync(folder()) ? readdirSync(folder()) : []);
  const usedAt = (name: string) => statSync(join(folder(), name)).mtimeMs;

  function machine(script: string, flags: readonly string[] = []): Outcome {
    const vm = ["--isolation", "vm", "--cpu", "software", "--kernel", world.path("kernel")];
    const command = ["--debug", "run", "--rm", ...vm, ...flags, world.image, "sh", "-c", script];
    return world.mw(command);
  }

  it("boots and saves the first, restores the second, each with clock and numbers of its own", () => {
    const script = "cat /proc/sys/kernel/random/boot_id; date +%s; exit 3";
    const [first, second] = [machine(script), machine(script)];
    assert.deepEqual([first.status, second.status], [3, 3], first.stderr + second.stderr);
    assert.equal(names().length, 1, "one snapshot serves both");
    const [name = ""] = names();
    assert.equal(statSync(folder()).mode & 0o777, 0o700);
    assert.equal(statSync(join(folder(), name)).mode & 0o777, 0o600);
    const [id, time] = second.stdout.split("\n");
    assert.notEqual(id, first.stdout.split("\n")[0]);
    assert.ok(Math.abs(Number(time) - Date.now() / 1000) < 10, second.stdout);
    const before = usedAt(name);
    assert.equal(machine("exit 0").status, 0);
    assert.ok(usedAt(name) > before, "it was used");
    const used = usedAt(name);
    assert.equal(machine("exit 0", ["--vm-cold"]).status, 0);
    assert.equal(usedAt(name), used, "it was not");
    assert.equal(names().length, 1);
  });

  it("boots when the snapshot is damaged, says so with --debug, and makes another", () => {
    const [name = ""] = names();
    const path = join(folder(), name);
    const { size } = statSync(path);
    truncateSync(path, size - 100_000);
    const broken = machine("echo fine");
    assert.equal(broken.stdout, "fine\n");
    assert.match(broken.stderr, /^debug: The machine boots: The snapshot is damaged/m);
    assert.notEqual(statSync(path).size, size - 100_000, "there is another");
    assert.doesNotMatch(broken.stderr, /was not saved/);
    assert.doesNotMatch(machine("exit 0").stderr, /debug:/);
  });

  it("does not use a file that others may read or write", () => {
    const [name = ""] = names();
    chmodSync(join(folder(), name), 0o644);
    assert.equal(machine("exit 0").status, 0);
    assert.equal(statSync(join(folder(), name)).mode & 0o777, 0o600, "it was replaced");
  });

  it("serves machines with volumes", () => {
    mkdirSync(world.path("volume"));
    const flags = ["-v", `${world.path("volume")}:/data`];
    for (const round of [1, 2]) {
      const { stderr, status } = machine(`echo ${round} >> /data/rounds`, flags);
      assert.equal(status, 0, stderr);
    }
    const { stdout } = machine("cat /data/rounds", flags);
    assert.equal(stdout, "1\n2\n");
    assert.equal(names().length, 2, "a machine with a shared directory is another machine");
  });

  it("is of one kernel: another file is another machine", () => {
    appendFileSync(world.path("kernel/bzImage"), Buffer.alloc(512));
    const before = names();
    assert.equal(machine("exit 0").status, 0);
    assert.equal(names().filter((name) => !before.includes(name)).length, 1);
  });

  it("is known to df, and goes with prune", () => {
    writeFileSync(join(folder(), ".new-1-abandoned"), "left by a run that was killed");
    const df = world.mw(["df", "--format", "{{.Type}} {{.Size}}"]).stdout;
    const megabytes = Number(/^VM snapshots ([\d.]+)MB$/m.exec(df)?.[1]);
    assert.ok(megabytes > 60 && megabytes < 200, df);
    const pruned = world.mw(["prune", "--force"]);
    assert.match(pruned.stdout, /^Deleted snapshots of machines: 4$/m, pruned.stderr);
    assert.deepEqual(names(), []);
    assert.equal(machine("exit 0").status, 0);
  });
});
