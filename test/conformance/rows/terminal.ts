/** config.md, "Process" with terminal: console socket, size, input, and exec with a terminal. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { listen, readTerminal, writeTerminal } from "../console.ts";
import { waitForOrphan } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";
import { execFile } from "./contract-files.ts";

const terminal = rowsOf("config.md, Process (terminal)");

/** Makes a terminal container; returns it and the master that came through the console socket. */
async function withTerminal(t: Trial, args: readonly string[], width = 80, height = 25) {
  const listener = listen(t.path("console"));
  t.onClose(() => listener.close());
  t.config.process.terminal = true;
  t.config.process.consoleSize = { width, height };
  t.config.process.args = [...args];
  t.writeConfig();
  const container = t.container();
  const created = container.create(["--console-socket", t.path("console")]);
  const message = await listener.receive();
  const { status, stderr } = await created;
  assert.equal(status, 0, stderr);
  assert.equal(message.fds.length, 1, "expected one descriptor");
  const [master = -1] = message.fds;
  t.onClose(() => message.close());
  await container.start();
  return { container, master, text: message.text };
}

export const terminalRows: readonly Row[] = [
  terminal(
    "MUST",
    "terminal-streams",
    "with terminal the three streams are the pseudoterminal, which is the controlling one",
    async (t) => {
      const { master } = await withTerminal(t, [
        "/bin/sh",
        "-c",
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; (echo ctty > /dev/tty); echo end",
      ]);
      const text = await readTerminal(master, (seen) => seen.includes("end"));
      assert.match(text, /^\/dev\/pts\/\d+\r\nall\r\nctty\r\nend/);
    },
  ),
  terminal(
    "MUST",
    "terminal-size",
    "consoleSize is the terminal's size when the program starts",
    async (t) => {
      const { master } = await withTerminal(t, ["/bin/sh", "-c", "stty size; echo end"], 123, 45);
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /45 123/);
    },
  ),
  terminal("MUST", "terminal-console", "/dev/console is the pseudoterminal", async (t) => {
    const { master } = await withTerminal(t, [
      "/bin/sh",
      "-c",
      "echo via console > /dev/console; echo end",
    ]);
    assert.match(await readTerminal(master, (seen) => seen.includes("end")), /via console/);
  }),
  terminal(
    "MUST",
    "terminal-input",
    "what is written to the master is read by the program",
    async (t) => {
      const { master } = await withTerminal(t, [
        "/bin/sh",
        "-c",
        "read line; echo got $line; echo end",
      ]);
      writeTerminal(master, "hello\n");
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /got hello/);
    },
  ),
  terminal("MUST", "terminal-interrupt", "Ctrl-C interrupts the program", async (t) => {
    const { master, container } = await withTerminal(t, [
      "/bin/sh",
      "-c",
      "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.05; done",
    ]);
    await readTerminal(master, (seen) => seen.includes("ready"));
    writeTerminal(master, "\x03");
    assert.match(await readTerminal(master, (seen) => seen.includes("interrupted")), /interrupted/);
    assert.equal(await container.exited(), 4);
  }),
  terminal(
    "MUST",
    "terminal-user",
    "a program that is not root can write to its terminal by name",
    async (t) => {
      t.config.process.user = { uid: 1000, gid: 1000 };
      const { master } = await withTerminal(t, ["/bin/sh", "-c", "echo named > $(tty); echo end"]);
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /named/);
    },
  ),
  terminal(
    "contract",
    "terminal-no-socket",
    "a detached terminal without console socket is refused",
    async (t) => {
      const { outcome } = await t.tryCreate("true", (config) => {
        config.process.terminal = true;
      });
      assert.notEqual(outcome.status, 0);
      assert.match(outcome.stderr, /console/);
    },
  ),
  terminal(
    "contract",
    "terminal-needless-socket",
    "a console socket without terminal is refused",
    async (t) => {
      const listener = listen(t.path("console"));
      t.onClose(() => listener.close());
      const { outcome } = await t.tryCreate("true", undefined, [
        "--console-socket",
        t.path("console"),
      ]);
      assert.notEqual(outcome.status, 0);
    },
  ),
  terminal(
    "contract",
    "exec-terminal",
    "exec with --tty, --detach and --console-socket sends its terminal",
    async (t) => {
      const container = await t.started();
      const listener = listen(t.path("console"));
      t.onClose(() => listener.close());
      const process = {
        terminal: true,
        args: ["/bin/sh", "-c", "tty; echo end"],
        cwd: "/",
        env: ["PATH=/bin"],
        user: { uid: 0, gid: 0 },
      };
      const done = execFile(t, container, process, [
        "--detach",
        "--pid-file",
        t.path("e.pid"),
        "--console-socket",
        t.path("console"),
      ]);
      const message = await listener.receive();
      const { status, stderr } = await done;
      assert.equal(status, 0, stderr);
      t.onClose(() => message.close());
      assert.match(
        await readTerminal(message.fds[0] ?? -1, (seen) => seen.includes("end")),
        /\/dev\/pts\/\d+/,
      );
      await waitForOrphan(Number(readFileSync(t.path("e.pid"), "utf8")));
    },
  ),
];
