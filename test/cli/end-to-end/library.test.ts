import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type ContainerError, pull, push, type RunRequest, run } from "../../../index.ts";
import { useWorld, type World } from "./world.ts";

describe("the library, end to end", function () {
  this.timeout(120_000);
  let world: World;
  useWorld((made) => {
    world = made;
  });

  function request(command: readonly string[], more: Partial<RunRequest> = {}): RunRequest {
    return { image: world.image, root: world.root, command, ...more };
  }

  it("pull() tells what it did", async () => {
    const events: string[] = [];
    const pulled = await pull(world.image, {
      root: world.root,
      onProgress: ({ type }) => events.push(type),
    });
    assert.equal(pulled.reference, world.image);
    assert.match(pulled.digest, /^sha256:/);
    assert.equal(pulled.upToDate, false);
    assert.ok(events.includes("item"));
    assert.equal((await pull(world.image, { root: world.root })).upToDate, true);
  });
  it("push() brings the image to its registry, and ends when it is there", async () => {
    const name = world.image.replace("latest", "pushed");
    assert.equal(world.mw(["tag", world.image, name]).status, 0);
    const digest = await push(name, { root: world.root });
    await pull(name, { root: world.path("other") });
    const { stdout } = world.mw(["images", "--digests"], { root: world.path("other") });
    assert.ok(stdout.includes(digest.slice(0, 19)), stdout);
  });
  it("run() gives the output and the status", async () => {
    await using container = await run(request(["sh", "-c", "echo out; echo err >&2; exit 3"]));
    assert.equal(await new Response(container.stdout).text(), "out\n");
    assert.equal(await new Response(container.stderr).text(), "err\n");
    assert.equal(await container.wait(), 3);
  });
  it("run() takes input", async () => {
    await using container = await run(request(["wc", "-c"], { interactive: true }));
    const writer = container.stdin?.getWriter();
    await writer?.write(new Uint8Array(100_000));
    await writer?.close();
    assert.equal(await new Response(container.stdout).text(), "100000\n");
  });
  it("disposing kills, and leaves nothing behind", async () => {
    let waiting: Promise<number>;
    {
      await using container = await run(request(["sleep", "1000"]));
      waiting = container.wait();
    }
    assert.equal(await waiting, 137);
    assert.deepEqual(world.leftovers(), []);
  });
  it("an AbortSignal kills", async () => {
    await using container = await run(
      request(["sleep", "1000"], { signal: AbortSignal.timeout(200) }),
    );
    assert.equal(await container.wait(), 137);
  });
  it("an aborted signal starts nothing", async () => {
    await assert.rejects(run(request(["true"], { signal: AbortSignal.abort() })), {
      name: "AbortError",
    });
    assert.deepEqual(world.leftovers(), []);
  });
  it("kill() sends a signal to a process that listens", async () => {
    const script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    await using container = await run(request(["sh", "-c", script]));
    const reader = container.stdout.getReader();
    assert.equal(Buffer.from((await reader.read()).value ?? []).toString(), "ready\n");
    container.kill();
    assert.equal(await container.wait(), 7);
    reader.releaseLock();
  });
  it("errors carry docker's status", async () => {
    await assert.rejects(run(request(["nope"])), (error: ContainerError) => error.status === 127);
    assert.deepEqual(world.leftovers(), []);
  });
  it("many containers, some at a time, each end with their own status", async () => {
    const numbers = Array.from({ length: 60 }, (_, index) => index + 1);
    const statuses: number[] = [];
    const work = async (): Promise<void> => {
      for (let next = numbers.shift(); next !== undefined; next = numbers.shift()) {
        await using container = await run(request(["sh", "-c", `exit ${next}`]));
        statuses[next - 1] = await container.wait();
      }
    };
    await Promise.all([work(), work(), work()]);
    assert.deepEqual(
      statuses,
      Array.from({ length: 60 }, (_, index) => index + 1),
    );
    assert.deepEqual(world.leftovers(), []);
  });
  it("the event loop goes on while containers run", async () => {
    const containers = await Promise.all([1, 2, 3].map(() => run(request(["sleep", "3"]))));
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    assert.deepEqual(await Promise.all(containers.map((each) => each.wait())), [0, 0, 0]);
    clearInterval(timer);
    assert.ok(ticks > 10, `${ticks} ticks`);
  });
  for (const [name, args, expected] of [
    ["run-command", ["echo", "from an example"], /^from an example\n$/],
    ["many-at-once", ["3"], /world 1 says hello\nworld 2 says hello\nworld 3 says hello\n$/],
  ] as const) {
    it(`examples/${name}.ts works`, () => {
      const path = fileURLToPath(new URL(`../../../examples/${name}.ts`, import.meta.url));
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        ["--import", "tsx", path, world.image, ...args],
        {
          encoding: "utf8",
          env: world.env(),
        },
      );
      assert.equal(status, 0, stderr);
      assert.match(stdout, expected);
    });
  }
});
