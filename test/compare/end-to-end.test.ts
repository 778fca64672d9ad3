import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { fileURLToPath } from "node:url";
import { type Comparison, type RungResult, workloads } from "../../compare/index.ts";
import { World, whyNot } from "../cli/end-to-end/world.ts";

const bun = fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url));
const main = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

describe("manyworlds compare", function () {
  this.timeout(180_000);
  let world: World;
  before(async function () {
    const reason = whyNot();
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    world = await World.make();
  });
  after(async () => world?.[Symbol.asyncDispose]());

  const rungFlags = ["process", "container", "bwrap", "podman"].flatMap((name) => ["--rung", name]);
  const find = (comparison: Comparison, name: string): RungResult => {
    const rung = comparison.rungs.find((each) => each.name === name);
    assert.ok(rung !== undefined, `no rung "${name}"`);
    return rung;
  };
  const workFolders = () => readdirSync(world.root).filter((name) => name.startsWith("compare-"));

  it("pulls the image, measures each rung, writes the page and leaves nothing behind", () => {
    const page = world.path("page.html");
    const args = ["compare", "--quick", "--json", "--html", page, ...rungFlags.slice(0, 4)];
    const { status, stdout, stderr } = world.mw([...args, world.image, "--", "ls", "/"]);
    assert.equal(status, 0, stderr);
    const comparison = JSON.parse(stdout) as Comparison;
    assert.equal(comparison.interrupted, false);
    for (const name of ["process", "container"]) {
      const { start, work, memory, density, missing } = find(comparison, name);
      assert.equal(missing, undefined);
      assert.ok(start.whole.length >= 3, `${name}: ${start.whole.length} starts`);
      for (const [index, whole] of start.whole.entries()) {
        const first = start.firstInstruction[index] ?? 0;
        assert.ok(first > 0 && first < whole, `${name}: ${first} of ${whole}`);
      }
      assert.equal(start.command.length, start.whole.length);
      assert.deepEqual(Object.keys(work).sort(), workloads.map((each) => each.name).sort());
      assert.ok((memory?.pssKiB ?? 0) > 0);
      assert.equal(density?.together, 4);
    }
    for (const [name, way] of [
      ["process", "its own loopback device"],
      ["container", "--network host"],
    ] as const) {
      const { network, work } = find(comparison, name);
      assert.deepEqual(network, { way });
      assert.ok((work["round trip"] ?? []).length > 0);
    }
    const bare = find(comparison, "process");
    const container = find(comparison, "container");
    const phases = container.phases ?? [];
    assert.deepEqual(
      phases.map(({ name }) => name).filter((name) => name !== "first instruction"),
      [
        ...["program loaded", "image found", "files and configuration made"],
        ...["launch program run", "process ended", "cleaned up", "command ended"],
      ],
    );
    assert.ok(phases.some(({ name }) => name === "first instruction"));
    assert.ok(least(container.start.firstInstruction) > least(bare.start.firstInstruction));
    assert.equal(bare.boundary?.seccomp, "none");
    assert.equal(container.boundary?.kernel, "shared");
    assert.equal(container.boundary?.kernelRelease, release());
    assert.equal(container.boundary?.seccomp, "filter");
    const { reachableSyscalls = 0, knownSyscalls = 0 } = container.boundary ?? {};
    assert.ok(reachableSyscalls > 200 && reachableSyscalls < knownSyscalls);
    assert.equal(container.boundary?.capabilities.includes("CAP_SYS_ADMIN"), false);
    assert.ok(readFileSync(page, "utf8").includes("container"));
    assert.deepEqual(workFolders(), []);
    assert.deepEqual(world.leftovers(), []);
    assert.match(
      stderr,
      /Preparing\nMeasuring starts\nMeasuring phases of starts\nMeasuring work inside\nMeasuring the way to this machine\nWeighing\n$/,
    );
  });

  it("reports what it has when it is interrupted", async () => {
    const child = world.start(["compare", "--json", ...rungFlags.slice(0, 4), world.image]);
    let stdout = "";
    let stderr = "";
    child.stdout?.on("data", (bytes) => {
      stdout += bytes;
    });
    child.stderr?.on("data", (bytes) => {
      stderr += bytes;
      if (String(bytes).includes("Measuring starts")) setTimeout(() => child.kill("SIGINT"), 1500);
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(status, 130, stderr);
    const comparison = JSON.parse(stdout) as Comparison;
    assert.equal(comparison.interrupted, true);
    assert.ok(find(comparison, "container").start.whole.length > 0);
    assert.deepEqual(find(comparison, "container").work, {});
    assert.deepEqual(workFolders(), []);
  });

  it("takes down what it holds when it is interrupted while it weighs", async () => {
    const child = world.start(["compare", "--quick", "--json", "--rung", "container", world.image]);
    const [status, stdout] = await interruptedAt(child, "Weighing", "SIGTERM");
    assert.equal(status, 130);
    const comparison = JSON.parse(stdout) as Comparison;
    assert.equal(comparison.interrupted, true);
    assert.equal(find(comparison, "container").missing, undefined);
    assert.ok((find(comparison, "container").work.integer ?? []).length > 0);
    assert.deepEqual(workFolders(), []);
    assert.deepEqual(world.leftovers(), []);
  });

  it("removes what a comparison that was killed left behind", async () => {
    const killed = world.start(["compare", "--rung", "container", world.image]);
    await interruptedAt(killed, "Measuring starts", "SIGKILL");
    assert.equal(workFolders().length, 1);
    const { status, stderr } = world.mw(["compare", "--quick", "--rung", "process", world.image]);
    assert.equal(status, 0, stderr);
    assert.deepEqual(workFolders(), []);
  });

  it("fails when nothing could be measured, and says why", () => {
    const { status, stdout } = world.mw(["compare", "-q", "--rung", "bwrap", world.image], {
      env: { PATH: "/nowhere" },
    });
    assert.equal(status, 1);
    assert.match(stdout, /Nothing was measured\.\n[\s\S]*bwrap: bwrap is not installed/);
  });

  it("outlives Ctrl-C, which every process of the terminal hears", async () => {
    const child = spawn(bun, [main, "compare", "--json", ...rungFlags.slice(0, 4), world.image], {
      env: world.env(),
      detached: true, // a process group of its own, as in a terminal
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    child.stdout.on("data", (bytes) => {
      stdout += bytes;
    });
    child.stderr.on("data", (bytes) => {
      const group = -(child.pid ?? 0);
      if (String(bytes).includes("Measuring starts")) {
        setTimeout(() => process.kill(group, "SIGINT"), 1500);
      }
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(status, 130);
    const comparison = JSON.parse(stdout) as Comparison;
    assert.equal(comparison.interrupted, true);
    for (const { missing, start } of comparison.rungs) {
      assert.equal(missing, undefined);
      assert.ok(start.whole.length > 0);
    }
    assert.deepEqual(workFolders(), []);
  });

  it("says what is missing, why, and what to do about it", () => {
    const { stdout, stderr, status } = world.mw(
      ["compare", "--quick", "-q", "--rung", "process", "--rung", "bwrap", world.image],
      { env: { PATH: "/nowhere" } },
    );
    assert.equal(status, 0, stderr);
    assert.equal(stderr, "");
    assert.match(stdout, /bwrap: bwrap is not installed\n {2}cure: apt-get install bubblewrap\n/);
    assert.match(stdout, /^process +\d/m);
  });

  for (const [why, args, message] of [
    ["a rung that does not exist", ["--rung", "vmware"], /"vmware": expected some of process, /],
    [
      "a page that it could not write",
      ["--html", "/no/such/page.html"],
      /Cannot write "\/no\/such/,
    ],
  ] as const)
    it(`refuses ${why}, before it measures`, () => {
      const { status, stderr } = world.mw(["compare", "-q", ...args, world.image]);
      assert.notEqual(status, 0);
      assert.match(stderr, message);
      assert.equal(existsSync("/no"), false);
    });

  it("refuses an image that does not exist", () => {
    const { status, stderr } = world.mw(["compare", "-q", `${world.image}-none`]);
    assert.notEqual(status, 0);
    assert.match(stderr, /-none/);
  });
});

/** @returns the exit status and standard output of a child that got a signal at that word */
function interruptedAt(
  child: ChildProcess,
  word: string,
  signal: NodeJS.Signals,
): Promise<readonly [number | null, string]> {
  let stdout = "";
  child.stdout?.on("data", (bytes) => {
    stdout += bytes;
  });
  child.stderr?.on("data", (bytes) => {
    if (String(bytes).includes(word)) child.kill(signal);
  });
  return new Promise((resolve) => child.once("close", (status) => resolve([status, stdout])));
}

function least(values: readonly number[]): number {
  return Math.min(...values);
}
