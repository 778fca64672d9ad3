import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { DetachKeys } from "../../../engine/terminal/detach-keys.ts";
import {
  enterRawMode,
  isTerminal,
  makeRaw,
  terminalSize,
} from "../../../engine/terminal/raw-mode.ts";
import { relay } from "../../../engine/terminal/relay.ts";
import { call, ECHO, Fd, ICANON, ISIG, OPOST, termios } from "../../../linux/index.ts";
import { TestTerminal, until } from "./pty.ts";

const cooked = ECHO | ICANON | ISIG;

describe("raw mode", () => {
  it("makeRaw() switches off what a line discipline does", () => {
    using terminal = new TestTerminal();
    const before = termios.decode(terminal.settings());
    const raw = termios.decode(makeRaw(terminal.settings()));
    assert.equal(before.c_lflag & cooked, cooked);
    assert.equal(raw.c_lflag & cooked, 0);
    assert.equal(raw.c_oflag & OPOST, 0);
    assert.deepEqual([raw.c_cc[5], raw.c_cc[6]], [0, 1]);
  });

  it("is put back at the end, and leaves no child", () => {
    using terminal = new TestTerminal();
    const before = terminal.settings();
    {
      using _ = enterRawMode(terminal.inner.number);
      assert.notDeepEqual(terminal.settings(), before);
    }
    assert.deepEqual(terminal.settings(), before);
  });

  it("is put back when we are killed", async () => {
    using terminal = new TestTerminal();
    const before = terminal.settings();
    const source = fileURLToPath(new URL("../../../engine/terminal/raw-mode.ts", import.meta.url));
    const code = `const { enterRawMode } = await import(${JSON.stringify(source)});
      enterRawMode(0); process.stderr.write("raw"); setInterval(() => {}, 1000);`;
    const args = ["--import", "tsx", "--input-type=module", "-e", code];
    const child = spawn(process.execPath.includes("bun") ? "node" : process.execPath, args, {
      stdio: [terminal.inner.number, "ignore", "pipe"],
    });
    const errors: string[] = [];
    child.stderr?.on("data", (data) => errors.push(String(data)));
    await until(() => errors.join("").includes("raw"), `raw mode, got ${errors}`);
    assert.equal(termios.decode(terminal.settings()).c_lflag & cooked, 0);
    child.kill("SIGKILL");
    await until(() => Buffer.compare(terminal.settings(), before) === 0, "settings as before");
  });

  it("knows terminals and their size", () => {
    using terminal = new TestTerminal({ rows: 30, columns: 100 });
    assert.equal(isTerminal(terminal.inner.number), true);
    using file = Fd.from("openat", -100, "/dev/null", 2);
    assert.equal(isTerminal(file.number), false);
    assert.equal(terminalSize(file.number), undefined);
    assert.deepEqual(terminalSize(terminal.inner.number), { height: 30, width: 100 });
  });
});

describe("DetachKeys", () => {
  const scan = (...chunks: string[]): string => {
    const keys = new DetachKeys(Uint8Array.of(16, 17));
    return chunks
      .map((chunk) => {
        const { pass, detached } = keys.scan(Buffer.from(chunk));
        return Buffer.from(pass).toString() + (detached ? "!" : "");
      })
      .join(",");
  };
  // biome-ignore format: table
  const rows: readonly (readonly [string, readonly string[], string])[] = [
    ["nothing special", ["ls\n"], "ls\n"],
    ["the sequence", ["\x10\x11"], "!"],
    ["the sequence in two reads", ["a\x10", "\x11b"], "a,!"],
    ["a beginning that goes on otherwise", ["\x10", "x"], ",\x10x"],
    ["a beginning twice", ["\x10\x10\x11"], "\x10!"],
    ["what was typed before", ["abc\x10\x11def"], "abc!"],
  ];
  for (const [what, chunks, expected] of rows) {
    it(`passes on ${what}`, () => assert.equal(scan(...chunks), expected));
  }
  it("never detaches without keys", () => {
    const typed = Uint8Array.of(16, 17);
    assert.deepEqual(new DetachKeys(new Uint8Array()).scan(typed), {
      pass: typed,
      detached: false,
    });
  });
});

describe("relay()", () => {
  function pipe(): [Fd, Fd] {
    const ends = new Uint8Array(8);
    call("pipe2", ends, 0o2000000);
    const view = new DataView(ends.buffer);
    return [Fd.take(view.getInt32(0, true)), Fd.take(view.getInt32(4, true))];
  }

  it("carries bytes both ways until the process ends", async () => {
    using terminal = new TestTerminal();
    const shell = spawn("sh", ["-c", 'stty -echo; echo ready; read line; echo "got $line"'], {
      stdio: [terminal.inner.number, terminal.inner.number, terminal.inner.number],
    });
    using pidfd = Fd.from("pidfd_open", shell.pid ?? 0, 0);
    const [input, typing] = pipe();
    const [shown, output] = pipe();
    using _a = input;
    using _b = typing;
    using _c = shown;
    using _d = output;
    call("write", typing, Buffer.from("hello\n"), 6);
    const how = await relay({
      pidfd,
      terminal: terminal.outer,
      stdin: input.number,
      stdout: output.number,
    });
    assert.equal(how, "ended");
    output.close();
    const buffer = new Uint8Array(4096);
    const length = call("read", shown, buffer, buffer.length);
    const text = Buffer.from(buffer.subarray(0, length)).toString();
    assert.match(text, /ready\r\n/);
    assert.match(text, /got hello\r\n/);
  });

  it("passes more than a terminal can hold without blocking for ever", async () => {
    using terminal = new TestTerminal();
    const count = 200_000;
    const code = `stty raw -echo; echo ready; head -c ${count} | wc -c`;
    const shell = spawn("sh", ["-c", code], {
      stdio: [terminal.inner.number, terminal.inner.number, terminal.inner.number],
    });
    await terminal.expect("ready");
    using pidfd = Fd.from("pidfd_open", shell.pid ?? 0, 0);
    const [input, typing] = pipe();
    using _a = input;
    const writer = spawn("head", ["-c", String(count), "/dev/zero"], {
      stdio: ["ignore", typing.number, "ignore"],
    });
    typing.close();
    const [shown, output] = pipe();
    using _b = shown;
    using _c = output;
    assert.equal(
      await relay({ pidfd, terminal: terminal.outer, stdin: input.number, stdout: output.number }),
      "ended",
    );
    const buffer = new Uint8Array(4096);
    const length = call("read", shown, buffer, buffer.length);
    assert.match(Buffer.from(buffer.subarray(0, length)).toString(), /^200000/);
    writer.kill();
  });

  it("ends at once when the keys are typed", async () => {
    using terminal = new TestTerminal();
    const shell = spawn("sleep", ["60"], { stdio: [terminal.inner.number, "ignore", "ignore"] });
    using pidfd = Fd.from("pidfd_open", shell.pid ?? 0, 0);
    const [input, typing] = pipe();
    using _a = input;
    using _b = typing;
    call("write", typing, Uint8Array.of(16, 17), 2);
    const detachKeys = Uint8Array.of(16, 17);
    assert.equal(
      await relay({ pidfd, terminal: terminal.outer, stdin: input.number, detachKeys }),
      "detached",
    );
    shell.kill("SIGKILL");
  });

  it("lets signal handlers run", async () => {
    const shell = spawn("sleep", ["60"], { stdio: "ignore" });
    using pidfd = Fd.from("pidfd_open", shell.pid ?? 0, 0);
    let seen = 0;
    const onUser = (): void => {
      seen++;
      shell.kill("SIGKILL");
    };
    process.once("SIGUSR2", onUser);
    spawn("sh", ["-c", `sleep 0.3; kill -USR2 ${process.pid}`], { stdio: "ignore" });
    assert.equal(await relay({ pidfd }), "ended");
    assert.equal(seen, 1);
  });
});
