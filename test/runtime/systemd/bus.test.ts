import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SyscallError } from "../../../linux/index.ts";
import { Bus, BusError } from "../../../runtime/cgroups/systemd/bus.ts";
import { ProtocolError } from "../../../runtime/cgroups/systemd/values.ts";

/** systemd itself answers in the Debian guest only (npm run test:cgroup2). */
describe("Bus", function () {
  this.timeout(20_000);
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-bus-"));
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  });

  /** A process that listens at `path`, since connecting blocks ours. */
  async function listen(path: string, command: string, args: readonly string[]): Promise<void> {
    children.push(spawn(command, args, { stdio: "ignore" }));
    for (let tries = 0; !existsSync(path) && tries < 500; tries += 1) await sleep(20);
  }

  it("is let in by a real message bus, which knows no systemd here", async function () {
    if (!existsSync("/usr/bin/dbus-daemon")) {
      if (this.test) this.test.title += ": needs Debian's dbus-daemon";
      this.skip();
    }
    const path = join(directory, "bus");
    const address = `--address=unix:path=${path}`;
    await listen(path, "dbus-daemon", ["--session", "--nofork", "--nopidfile", address]);
    // Hello and AddMatch have succeeded when Subscribe finds nobody.
    assert.throws(
      () => Bus.connect({ path, isBus: true }),
      (error) =>
        error instanceof BusError && /\.(ServiceUnknown|Spawn\.ChildExited)$/.test(error.errorName),
    );
  });

  for (const [why, answer] of [
    ["refuses us", "REJECTED EXTERNAL\r\n"],
    ["hangs up", ""],
    ["never ends its line", "x".repeat(5000)],
  ] as const)
    it(`gives up on a server that ${why}`, async () => {
      const path = join(directory, why.replaceAll(" ", "-"));
      const script = `require("node:net").createServer((socket) => socket.on("error", () => {})
        .on("data", () => socket.end(${JSON.stringify(answer)}))).listen(${JSON.stringify(path)})`;
      await listen(path, process.execPath, ["-e", script]);
      assert.throws(() => Bus.connect({ path, isBus: false }), ProtocolError);
    });

  it("gives up on bytes that are no messages", async () => {
    const path = join(directory, "noise");
    const script = `require("node:net").createServer((socket) => socket.on("error", () => {})
      .once("data", () => socket.write("DATA\\r\\nOK 0123\\r\\n" + "?".repeat(64)))).listen(${JSON.stringify(path)})`;
    await listen(path, process.execPath, ["-e", script]);
    using bus = Bus.connect({ path, isBus: false });
    assert.throws(() => bus.call({ path: "/", interface: "a.b", member: "C" }), ProtocolError);
  });

  it("says that nobody listens", () =>
    assert.throws(() => Bus.connect({ path: join(directory, "none"), isBus: true }), SyscallError));
});
