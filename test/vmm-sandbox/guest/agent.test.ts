import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Program } from "../../../linux/index.ts";
import { RemoteKernel } from "../../../vmm-sandbox/guest/index.ts";
import { message, messageKinds } from "../../../vmm-sandbox/guest/protocol.ts";
import { farewellStatus, type LocalAgent, startLocalAgent } from "./local-agent.ts";

describe("vmm-sandbox/guest agent", () => {
  let folder: string;
  let agent: LocalAgent;
  let kernel: RemoteKernel;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-agent-"));
    agent = await startLocalAgent();
    kernel = agent.kernel;
  });

  afterEach(async () => {
    await agent[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  it("runs programs in the agent's process and brings results and buffers back", async () => {
    const outcome = await kernel.run({
      rows: [
        { call: "getpid", args: [], as: "pid" },
        { call: "getcwd", args: [{ buffer: "where" }, 4096], as: "length" },
        { end: { result: "pid" } },
      ],
      buffers: { where: 4096 },
    });
    assert.equal(outcome.value, agent.process.pid);
    const where = outcome.buffer("where").subarray(0, outcome.result("length") - 1);
    assert.equal(Buffer.from(where).toString(), process.cwd());
  });

  it("reports the row that failed, by name and arguments", async () => {
    const outcome = await kernel.run({
      rows: [{ call: "mkdirat", args: [-100, "/no/such/folder", 0o755] }],
    });
    assert.equal(outcome.failure?.errno, "ENOENT");
    assert.deepEqual(outcome.failure?.args, [-100, "/no/such/folder", 0o755]);
  });

  it("keeps descriptors from one program to the next, and takes requests in order", async () => {
    const path = join(folder, "file");
    const opened = await kernel.run({
      rows: [{ call: "openat", args: [-100, path, 0o101, 0o644] }, { end: { last: true } }],
    });
    const write = (text: string): Program => ({
      rows: [{ call: "write", args: [opened.value, text, text.length] }],
    });
    await Promise.all(["one ", "two ", "three"].map((text) => kernel.run(write(text))));
    assert.equal(readFileSync(path, "utf8"), "one two three");
  });

  it("forks, executes and reports how each child ended", async () => {
    const children = await Promise.all(
      [0, 3, 7].map((code) => kernel.spawn(shell(`exit ${code}`))),
    );
    const statuses = await Promise.all(children.map(({ exited }) => exited));
    assert.deepEqual(statuses, [0, 3 << 8, 7 << 8]);
    const killed = await kernel.spawn(shell("sleep 60"));
    await kernel.run({ rows: [{ call: "kill", args: [killed.pid, 9] }] });
    assert.equal(await killed.exited, 9);
  });

  it("a child that cannot execute exits with its program's value", async () => {
    const child = await kernel.spawn({
      rows: [
        { call: "execve", args: ["/no/such", { strings: ["x"] }, { strings: [] }], onError: "no" },
        { label: "no" },
        { end: 127 },
      ],
    });
    assert.equal(await child.exited, 127 << 8);
  });

  it("answers while children run, and remembers an exit until it is asked for", async () => {
    const child = await kernel.spawn(shell("sleep 0.2; exit 4"));
    const before = Date.now();
    await kernel.run({ rows: [{ call: "getpid", args: [] }] });
    assert.ok(Date.now() - before < 150);
    assert.equal(await child.exited, 4 << 8);
  });

  it("carries a large block both ways", async () => {
    const outcome = await kernel.run({
      rows: [
        { store: { buffer: "large", offset: 3_000_000 - 1 }, value: 42, width: 1 },
        { end: 0 },
      ],
      buffers: { large: 3_000_000 },
    });
    assert.equal(outcome.buffer("large").at(-1), 42);
  });

  it("many children at once all report", async () => {
    const codes = Array.from({ length: 40 }, (_, index) => index);
    const children = await Promise.all(
      codes.map((code) => kernel.spawn({ rows: [{ end: code }] })),
    );
    const statuses = await Promise.all(children.map(({ exited }) => exited));
    assert.deepEqual(
      statuses,
      codes.map((code) => code << 8),
    );
  });

  it("hangs up and dials again when it is told to, and is the same process", async () => {
    const connection = agent.acceptAgain();
    await kernel.redial();
    await assert.rejects(kernel.run({ rows: [{ end: 0 }] }), /GuestError/);
    const again = await RemoteKernel.open(await connection);
    const { value } = await again.run({
      rows: [{ call: "getpid", args: [] }, { end: { last: true } }],
    });
    assert.equal(value, agent.process.pid);
    const { exited } = await again.spawn(shell("exit 3"));
    assert.equal(await exited, 3 << 8);
  });

  it("ends when the host hangs up", async () => {
    agent.socket.end();
    assert.equal(await agent.exited, farewellStatus);
  });

  for (const [why, size, value] of [
    ["more than it can take", 0x100, 0x7fff_ffffn],
    ["more than the whole block", 0x200, 0x100n],
    ["a block of negative size", 0xffff_ffff, -1n],
  ] as const)
    it(`ends when the host announces ${why}`, async () => {
      agent.socket.write(message.encode({ kind: messageKinds.run, size, value }));
      assert.equal(await agent.exited, farewellStatus);
      await assert.rejects(kernel.run({ rows: [{ end: 0 }] }), /GuestError/);
    });

  it("finds zeros in its buffers, whatever the program before left there", async () => {
    const sizeBytes = 64 * 1024;
    const fill: Program = {
      rows: [{ call: "getrandom", args: [{ buffer: "bytes" }, sizeBytes, 0] }],
      buffers: { bytes: sizeBytes },
    };
    const filled = await kernel.run(fill);
    assert.ok(filled.buffer("bytes").some((byte) => byte !== 0));
    const { rows: _, ...rest } = fill;
    const empty = await kernel.run({ ...rest, rows: [{ end: 0 }] });
    assert.ok(empty.buffer("bytes").every((byte) => byte === 0));
  });

  it("requests fail when the agent dies", async () => {
    const pending = kernel.spawn(shell("sleep 1"));
    const { exited } = await pending;
    agent.process.kill("SIGKILL");
    await assert.rejects(exited, /GuestError/);
    await assert.rejects(kernel.run({ rows: [{ end: 0 }] }), /GuestError/);
  });
});

function shell(script: string): Program {
  const argv = { strings: ["sh", "-c", script] };
  return { rows: [{ call: "execve", args: ["/bin/sh", argv, { strings: ["PATH=/bin"] }] }] };
}
