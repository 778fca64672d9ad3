import assert from "node:assert/strict";
import { once } from "node:events";
import { ECHO, ICANON, termios } from "../../../linux/index.ts";
import { TestTerminal, until } from "../../engine/terminal/pty.ts";
import { useWorld, type World } from "./world.ts";

describe("run -it", function () {
  this.timeout(120_000);
  let world: World;
  useWorld((made) => {
    world = made;
    world.mw(["pull", world.image]);
  });

  function isRaw(terminal: TestTerminal): boolean {
    return (termios.decode(terminal.settings()).c_lflag & (ECHO | ICANON)) === 0;
  }

  /** Starts `run` on a terminal; its prompt is "# ". */
  async function shell(terminal: TestTerminal, flags: readonly string[] = ["--rm", "-it"]) {
    const { number } = terminal.inner;
    const child = world.start(["run", ...flags, world.image, "sh"], [number, number, number]);
    await terminal.expect("# ");
    return { child, ended: once(child, "exit") };
  }

  it("gives a terminal of the right size, follows its size, and ends with the shell's status", async () => {
    using terminal = new TestTerminal({ rows: 31, columns: 97 });
    const before = terminal.settings();
    const { child, ended } = await shell(terminal);
    assert.equal(isRaw(terminal), true);
    terminal.type("tty; stty size; echo $TERM\r");
    assert.match(await terminal.expect("xterm"), /\/dev\/(pts\/0|console)\r\n31 97\r\n/);
    terminal.resize(20, 50);
    child.kill("SIGWINCH"); // the kernel sends it to the terminal's foreground group, which is ours
    await new Promise((resolve) => setTimeout(resolve, 200));
    terminal.type("stty size\r");
    await terminal.expect("20 50");
    terminal.type("sleep 1000\r");
    await new Promise((resolve) => setTimeout(resolve, 500)); // until it sleeps
    terminal.type("\u0003");
    await terminal.expect("# ");
    terminal.type("exit 5\r");
    assert.deepEqual((await ended)[0], 5);
    assert.deepEqual(terminal.settings(), before);
    assert.deepEqual(world.leftovers(), []);
  });

  it("puts the terminal back when it is killed, and the container goes", async () => {
    using terminal = new TestTerminal();
    const before = terminal.settings();
    const { child, ended } = await shell(terminal);
    assert.equal(isRaw(terminal), true);
    child.kill("SIGKILL");
    await ended;
    await until(() => Buffer.compare(terminal.settings(), before) === 0, "settings as before");
    await until(() => world.mw(["ps", "-aq"]).stdout === "", "no container");
    assert.deepEqual(world.leftovers(), []);
  });

  it("detaches at ctrl-p ctrl-q, and the container stays until it is removed", async () => {
    using terminal = new TestTerminal();
    const before = terminal.settings();
    const { ended } = await shell(terminal, ["--rm", "-it", "--name", "stays"]);
    terminal.type("\u0010\u0011");
    assert.deepEqual((await ended)[0], 0);
    assert.deepEqual(terminal.settings(), before);
    const { stdout } = world.mw(["ps", "--format", "{{.Names}} {{.State}}"]);
    assert.equal(stdout, "stays running\n");
    assert.match(world.mw(["rm", "stays"]).stderr, /it is running/);
    assert.equal(world.mw(["rm", "-f", "stays"]).status, 0);
    assert.deepEqual(world.leftovers(), []);
  });

  it("-t without -i shows colours but takes no input", async () => {
    using terminal = new TestTerminal();
    const { number } = terminal.inner;
    const child = world.start(
      ["run", "--rm", "-t", world.image, "sh", "-c", "test -t 1 && echo terminal"],
      ["ignore", number, number],
    );
    const ended = once(child, "exit");
    await terminal.expect("terminal");
    assert.equal((await ended)[0], 0);
  });

  it("draws bars on a terminal", async () => {
    using terminal = new TestTerminal();
    const { number } = terminal.inner;
    const args = ["--root", world.path("bars"), "pull", world.image];
    const child = world.start(args, ["ignore", number, number]);
    const ended = once(child, "exit");
    const text = await terminal.expect(/Status: Downloaded newer image/);
    assert.equal((await ended)[0], 0);
    assert.match(text, /[0-9a-f]{12}: (Downloading|Extracting|Complete)/);
    assert.ok(text.includes("\u001b[K"), "lines are drawn in place");
  });
});
