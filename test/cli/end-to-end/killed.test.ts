import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { useWorld, World, whyNot } from "./world.ts";

/** Every moment that a user or the OOM killer may choose. */
const ROUNDS = 12;

describe("after SIGKILL", function () {
  this.timeout(180_000);
  let world: World;
  useWorld((made) => {
    world = made;
  });

  async function killAfter(args: readonly string[], milliseconds: number): Promise<void> {
    const child = world.start(args, "ignore");
    const ended = once(child, "exit");
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    child.kill("SIGKILL");
    await ended;
  }

  it(`of a pull, ${ROUNDS} times, the same pull works`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await killAfter(["pull", "-q", world.image], 40 + round * 25);
      if (round % 4 !== 3) continue;
      const { status, stderr } = world.mw(["pull", "-q", world.image]);
      assert.equal(status, 0, stderr);
      const removed = world.mw(["rmi", world.image]);
      assert.equal(removed.status, 0, removed.stderr);
    }
    assert.equal(world.inside("", "echo works"), "works\n");
    assert.equal(world.mw(["prune", "-f"]).status, 0);
    assert.deepEqual(readdirSync(join(world.root, "tmp")), []);
    assert.deepEqual(readdirSync(join(world.root, "ingest")), []);
  });

  it(`of a run, ${ROUNDS} times, the same run works and nothing is left`, async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const idFile = world.path(`id-${round}`);
      const flags = ["--rm", "--name", "same", "--cidfile", idFile];
      await killAfter(["run", ...flags, world.image, "sleep", "1000"], 30 + round * 20);
      if (existsSync(idFile)) world.see(readFileSync(idFile, "utf8"));
      const again = world.mw(["run", "--rm", "--name", "same", world.image, "echo", "again"]);
      assert.deepEqual([again.status, again.stdout], [0, "again\n"], again.stderr);
      assert.deepEqual(world.leftovers(), [], `round ${round}`);
    }
    assert.deepEqual(sleepers(), []);
  });

  it("a container without --rm is kept, with the status of who was killed", async () => {
    await killAfter(["run", "--name", "kept", world.image, "sleep", "1000"], 1000);
    const { stdout } = world.mw(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    assert.match(stdout, /^kept Exited \(137\)/);
    assert.equal(world.mw(["rm", "kept"]).status, 0);
    assert.deepEqual(world.leftovers(), []);
  });

  it("signals reach the container, and the third ctrl-c ends what ignores them", async () => {
    const child = world.start([
      "run",
      "--rm",
      world.image,
      "sh",
      "-c",
      "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    let output = "";
    child.stdout?.on("data", (data) => {
      output += String(data);
    });
    await until(() => output.includes("ready"));
    child.kill("SIGTERM");
    const [status] = await once(child, "exit");
    assert.deepEqual([status, output], [9, "ready\ngot it\n"]);
    const deaf = world.start([
      "run",
      "--rm",
      world.image,
      "sh",
      "-c",
      "trap '' INT; echo ready; sleep 1000",
    ]);
    const ended = once(deaf, "exit");
    await once(deaf.stdout ?? deaf, "data");
    // signals that come together count once, so a machine under load needs more than three
    const insist = setInterval(() => deaf.kill("SIGINT"), 200);
    void ended.finally(() => clearInterval(insist));
    assert.equal((await ended)[0], 137);
    assert.deepEqual(world.leftovers(), []);
  });

  async function until(condition: () => boolean): Promise<void> {
    for (const end = Date.now() + 20_000; !condition(); ) {
      assert.ok(Date.now() < end, "waited in vain");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Processes of our containers that outlived them. */
  function sleepers(): string[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && existsSync(`/proc/${name}/root/etc/passwd`))
      .filter((pid) => readCommand(pid) === "sleep\x001000\0" && isOurs(pid));
  }

  function readCommand(pid: string): string {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1");
    } catch {
      return "";
    }
  }

  function isOurs(pid: string): boolean {
    try {
      return readFileSync(`/proc/${pid}/mountinfo`, "utf8").includes(world.directory);
    } catch {
      return false;
    }
  }
});

describe("a full disk", function () {
  this.timeout(60_000);
  it("is named, loses nothing, and the same pull works with space", async function () {
    const reason = whyNot();
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    await using world = await World.make();
    const small = world.path("small");
    mkdirSync(small);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=700k", "tmpfs", small]);
    try {
      const { status, stderr } = world.mw(["pull", "-q", world.image], { root: small });
      assert.equal(status, 1, stderr);
      assert.match(stderr, /disk is full/);
      assert.match(stderr, /hint: free space/);
      assert.equal(world.mw(["images", "-q"], { root: small }).stdout, "");
      execFileSync("mount", ["-o", "remount,size=64m", small]);
      const again = world.mw(["run", "--rm", world.image, "echo", "fits"], { root: small });
      assert.equal(again.stdout, "fits\n", again.stderr);
    } finally {
      execFileSync("umount", [small]);
    }
  });
});

describe("bad registries", function () {
  this.timeout(120_000);
  let world: World;
  const servers: Server[] = [];
  before(async function () {
    const reason = whyNot();
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    world = await World.make();
  });
  after(async () => {
    for (const server of servers) server.close();
    await world?.[Symbol.asyncDispose]();
  });

  /** A registry that passes requests on to the real one, and does something bad to blobs. */
  async function between(
    blob: (bytes: Buffer) => {
      status?: number;
      bytes?: Buffer;
      cut?: boolean;
      headers?: Record<string, string>;
    },
  ): Promise<string> {
    const server = createServer(async (request, response) => {
      const real = await fetch(`http://${world.registry.domain}${request.url}`, {
        method: request.method ?? "GET",
        headers: request.headers as Record<string, string>,
      });
      const body = Buffer.from(await real.arrayBuffer());
      const type = real.headers.get("content-type") ?? "application/octet-stream";
      if (!request.url?.includes("/blobs/") || body.length < 100_000) {
        response.writeHead(real.status, { "content-type": type }).end(body);
        return;
      }
      const { status = 200, bytes = body, cut = false, headers = {} } = blob(body);
      response.writeHead(status, {
        "content-type": type,
        "content-length": cut ? body.length : bytes.length,
        ...headers,
      });
      if (cut) response.write(bytes, () => response.destroy());
      else response.end(bytes);
    });
    servers.push(server);
    await once(server.listen(0, "127.0.0.1"), "listening");
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    return `127.0.0.1:${address.port}/busybox:latest`;
  }

  // biome-ignore format: table
  const rows: readonly (readonly [string, Parameters<typeof between>[0], RegExp])[] = [
    ["a layer with another byte", (bytes) => ({ bytes: Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)]) }), /digest/],
    ["a layer that is too short", (bytes) => ({ bytes: bytes.subarray(0, 1000) }), /1000|size|bytes/],
    ["a layer that is too long", (bytes) => ({ bytes: Buffer.concat([bytes, bytes]) }), /longer|size|bytes/],
    ["a layer that is not there", () => ({ status: 404, bytes: Buffer.from("{}") }), /404/],
    ["a layer that may not be read", () => ({ status: 403, bytes: Buffer.from("{}") }), /403/],
  ];
  for (const [what, blob, message] of rows) {
    it(`refuses ${what}, and the same pull works from a good one`, async () => {
      const root = world.path(`root-${servers.length}`);
      const image = await between(blob);
      const child = world.start(["--root", root, "pull", "-q", image]);
      let stderr = "";
      child.stderr?.on("data", (data) => {
        stderr += String(data);
      });
      const [status] = await once(child, "exit");
      assert.equal(status, 1, stderr);
      assert.match(stderr, message);
      assert.match(stderr, /^manyworlds: /m);
      assert.equal(world.mw(["images", "-q"], { root }).stdout, "");
      const good = world.mw(["run", "--rm", world.image, "echo", "good"], { root });
      assert.equal(good.stdout, "good\n", good.stderr);
    });
  }
});
