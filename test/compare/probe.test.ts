import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostServers } from "../../compare/host-server.ts";
import { parseProbe, workArguments, workloads, writeProbe } from "../../compare/probe.ts";

describe("compare/probe", () => {
  let folder: string;
  let probe: string;
  let servers: HostServers;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-probe-"));
    probe = join(folder, "probe");
    writeProbe(probe);
    servers = new HostServers(probe);
  });
  after(() => {
    servers[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const run = (...args: readonly string[]) => spawnSync(probe, args, { encoding: "utf8" });
  const files = () => join(folder, "files");

  it("is a static executable of two pages", () => {
    assert.ok(statSync(probe).size <= 8192);
  });

  it("stamps its first instructions with the clock that we read, too", () => {
    const before = process.hrtime.bigint(); // CLOCK_MONOTONIC on Node
    const { stdout, status } = run("s");
    const after = process.hrtime.bigint();
    assert.equal(status, 0);
    const { stampNs } = parseProbe(stdout);
    assert.ok(stampNs >= Number(before) && stampNs <= Number(after), stdout);
  });

  for (const { name } of workloads)
    it(`runs the workload "${name}" for the time it is given, and leaves no file`, async () => {
      rmSync(files(), { recursive: true, force: true });
      spawnSync("mkdir", [files()]);
      const { words } = await servers.at("loopback");
      const args = [
        ...workArguments({ names: [name], eachMs: 20 }, { writable: files() }),
        ...words,
      ];
      const { stdout, stderr, status } = run(...args);
      assert.equal(status, 0, stderr);
      const [, ns = "0", operations = "0"] = /^[A-Z] (\d+) (\d+) \d+ \d+$/m.exec(stdout) ?? [];
      assert.ok(Number(ns) >= 20e6, stdout);
      assert.ok(Number(operations) > 0, stdout);
      const [fastest = 0, batch = 0] = stdout.trim().split(" ").slice(-2).map(Number);
      assert.ok(fastest / batch <= Number(ns) / Number(operations), stdout);
      assert.ok((parseProbe(stdout).nsPerOperation.get(name) ?? 0) > 0);
      assert.deepEqual(readdirSync(files()), []);
    });

  it("reports the errno of what cannot be done, and goes on with the next", () => {
    const args = workArguments(
      { names: ["small file", "syscall"], eachMs: 1 },
      { writable: "/proc" },
    );
    const { failed, nsPerOperation } = parseProbe(run(...args).stdout);
    assert.equal(failed.get("small file"), "ENOENT");
    assert.ok(nsPerOperation.has("syscall"));
  });

  it("says so when it is told no server, or one that is not there", () => {
    const args = workArguments(
      { names: ["round trip", "to host", "from host"], eachMs: 1 },
      { writable: "/tmp" },
    );
    for (const [words, errno] of [
      [[], "EDESTADDRREQ"],
      [["16777343", "256"], "ECONNREFUSED"], // port 1
    ] as const) {
      const { failed } = parseProbe(run(...args, ...words).stdout);
      assert.deepEqual([...failed.values()], [errno, errno, errno]);
    }
  });

  it("serves many at once, and ends when its server is disposed of", async () => {
    using own = new HostServers(probe);
    const { words } = await own.at("loopback");
    const args = workArguments({ names: ["round trip"], eachMs: 50 }, { writable: "/tmp" });
    const outputs = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const child = spawn(probe, [...args, ...words], { stdio: ["ignore", "pipe", "inherit"] });
        let text = "";
        for await (const piece of child.stdout) text += piece;
        return text;
      }),
    );
    for (const text of outputs) assert.ok(parseProbe(text).nsPerOperation.has("round trip"), text);
    own[Symbol.dispose]();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(
      parseProbe(run(...args, ...words).stdout).failed.get("round trip"),
      "ECONNREFUSED",
    );
  });

  it("holds until a file is gone", async () => {
    const hold = join(folder, "hold");
    writeFileSync(hold, "");
    const child = spawn(probe, ["h", hold], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    assert.ok(existsSync(`/proc/${child.pid}`));
    assert.equal(child.exitCode, null);
    rmSync(hold);
    const status = await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(status, 0);
  });

  it("refuses to run without an argument", () => assert.equal(run().status, 2));
});

describe("parseProbe()", () => {
  it("finds the answer between a kernel's lines, with a terminal's line ends", () => {
    const { stampNs, nsPerOperation } = parseProbe(
      "[0.1] boot\r\ns 12\r\nI 900 100 300 100\r\n[1.0] off",
    );
    assert.equal(stampNs, 12);
    assert.equal(nsPerOperation.get("integer"), 3);
  });
  for (const [why, text] of [
    ["nothing", ""],
    ["no stamp", "I 300 100 3 1\n"],
    ["a stamp that is no number", "s x\n"],
  ] as const)
    it(`refuses ${why}`, () => assert.throws(() => parseProbe(text), SyntaxError));
  it("ignores letters that it does not know, and operations of which there were none", () => {
    assert.equal(parseProbe("s 1\nZ 1 1 1 1\nI 5 0 1 0\n").nsPerOperation.size, 0);
  });
});
