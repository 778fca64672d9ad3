import assert from "node:assert/strict";
import type { Row } from "../../../linux/index.ts";
import {
  GuestLaunchError,
  type GuestProcess,
  startGuestProcess,
} from "../../../vmm-sandbox/guest/index.ts";
import { type LocalAgent, startLocalAgent } from "./local-agent.ts";

/** posix_openpt(3), and TIOCSPTLCK, TIOCGPTPEER of ioctl_tty(2). */
const openTerminal: readonly Row[] = [
  { call: "openat", args: [-100, "/dev/ptmx", 0o2000002, 0], as: "master-end" },
  { call: "ioctl", args: [{ result: "master-end" }, 0x40045431, { buffer: "zero" }] },
  { call: "ioctl", args: [{ result: "master-end" }, 0x5441, 0o2], as: "slave" },
  { call: "setsid", args: [] },
  { call: "ioctl", args: [{ result: "slave" }, 0x540e, 0] },
  ...[0, 1, 2].map((fd): Row => ({ call: "dup3", args: [{ result: "slave" }, fd, 0] })),
  { store: { buffer: "control" }, value: 20, width: 8 }, // cmsg_len, SOL_SOCKET, SCM_RIGHTS
  { store: { buffer: "control", offset: 8 }, value: 1, width: 4 },
  { store: { buffer: "control", offset: 12 }, value: 1, width: 4 },
  { store: { buffer: "control", offset: 16 }, value: { result: "master-end" }, width: 4 },
  {
    call: "sendmsg",
    args: [
      { result: "console" },
      {
        struct: messageHeader(),
        pointers: { 16: { struct: oneByte(), pointers: { 0: "x" } }, 32: { buffer: "control" } },
      },
      0,
    ],
  },
];

describe("vmm-sandbox/guest processes", () => {
  let agent: LocalAgent;
  beforeEach(async () => {
    agent = await startLocalAgent();
  });
  afterEach(() => agent[Symbol.asyncDispose]());

  const start = (script: string, { terminal = false } = {}): Promise<GuestProcess> =>
    startGuestProcess(agent.kernel, agent.host, {
      terminal,
      rows: [...(terminal ? openTerminal : []), execute("/bin/sh", "sh", "-c", script)],
      buffers: { zero: 8, control: 24 },
    });

  it("carries the three streams and the exit status", async () => {
    const process = await start("cat; echo problem >&2; exit 9");
    const writer = process.stdin.getWriter();
    await writer.write(Buffer.from("through the guest"));
    await writer.close();
    assert.equal(await text(process.stdout), "through the guest");
    assert.ok(process.stderr !== undefined);
    assert.equal(await text(process.stderr), "problem\n");
    assert.equal(await process.exited, 9 << 8);
  });

  it("carries megabytes in both directions, unchanged", async () => {
    const process = await start("cat");
    const bytes = Buffer.alloc(3_000_000, "0123456789abcdefg");
    const writer = process.stdin.getWriter();
    const written = writer.write(bytes).then(() => writer.close());
    assert.ok(Buffer.from(await text(process.stdout)).equals(bytes));
    await written;
    assert.equal(await process.exited, 0);
  });

  it("the process can open /dev/stdout", async () => {
    const process = await start("echo again > /dev/stdout");
    assert.equal(await text(process.stdout), "again\n");
  });

  it("the output ends although a pump of another process lives on", async () => {
    const idle = await start("sleep 30");
    const process = await start("echo done");
    assert.equal(await text(process.stdout), "done\n");
    await idle.kill(9);
    assert.equal(await idle.exited, 9);
  });

  it("a terminal is one, has the size it is given, and sends signals", async () => {
    const process = await start(
      "trap 'echo interrupted; exit 3' INT; test -t 0 && test -t 1 && stty size; read x; stty size; read y",
      { terminal: true },
    );
    const writer = process.stdin.getWriter();
    await process.resize(132, 43);
    const output = text(process.stdout);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await writer.write(Buffer.from("go\n"));
    await new Promise((resolve) => setTimeout(resolve, 200));
    await writer.write(Buffer.from([3])); // Ctrl-C
    assert.equal(await process.exited, 3 << 8);
    await writer.close().catch(() => undefined); // the relay may have hung up already
    assert.match(await output, /^\d+ \d+\r\ngo\r\n43 132\r\n\^Cinterrupted\r\n$/);
  });

  it("reports the row of the launch that failed", async () => {
    const launch = { terminal: false, rows: [execute("/no/such/program", "x")] };
    await assert.rejects(
      startGuestProcess(agent.kernel, agent.host, launch),
      (error) =>
        error instanceof GuestLaunchError &&
        error.failure.call === "execve" &&
        error.failure.errno === "ENOENT" &&
        error.failure.args[0] === "/no/such/program",
    );
    assert.equal(await text((await start("echo still well")).stdout), "still well\n");
  });

  it("twenty processes at once keep their streams apart", async () => {
    const numbers = Array.from({ length: 20 }, (_, index) => index);
    const processes = await Promise.all(numbers.map((number) => start(`echo number ${number}`)));
    const outputs = await Promise.all(processes.map(({ stdout }) => text(stdout)));
    assert.deepEqual(
      outputs,
      numbers.map((number) => `number ${number}\n`),
    );
  });
});

function execute(path: string, ...args: readonly string[]): Row {
  const environment = { strings: ["PATH=/usr/bin:/bin"] };
  return { call: "execve", args: [path, { strings: args }, environment] };
}

function messageHeader(): Uint8Array {
  const bytes = new Uint8Array(56);
  const view = new DataView(bytes.buffer);
  view.setUint32(24, 1, true); // msg_iovlen
  view.setUint32(40, 24, true); // msg_controllen
  return bytes;
}

function oneByte(): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes[8] = 1;
  return bytes;
}

async function text(stream: ReadableStream<Uint8Array>): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}
