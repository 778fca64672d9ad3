import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CLONE_VFORK,
  CLONE_VM,
  encodeProgram,
  formatRow,
  loadProgram,
  type Program,
  type Row,
  runProgram,
  SIG_SETMASK,
  SIGCHLD,
  sigsetSizeBytes,
} from "../../linux/index.ts";

const wait4Status = (outcome: { buffer(name: string): Uint8Array }) => {
  const bytes = outcome.buffer("status");
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
};

/** Forks with `flags`, runs `child` there, waits, and returns to the caller. */
function forking(flags: number, child: readonly Row[]): Program {
  return {
    rows: [
      {
        call: "rt_sigprocmask",
        args: [
          SIG_SETMASK,
          Uint8Array.from(Array(8).fill(255)),
          { buffer: "mask" },
          sigsetSizeBytes,
        ],
      },
      { call: "clone", args: [flags | SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "child", if: [{ last: true }, "==", 0] },
      { call: "wait4", args: [{ result: "pid" }, { buffer: "status" }, 0, 0] },
      { call: "rt_sigprocmask", args: [SIG_SETMASK, { buffer: "mask" }, 0, sigsetSizeBytes] },
      { end: 0 },
      { label: "child" },
      ...child,
      { label: "failed" },
      { call: "exit_group", args: [99] },
    ],
    buffers: { status: 4, mask: 8 },
    onError: "failed",
  };
}

describe("linux/program", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-program-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  it("results feed later rows", () => {
    const path = join(folder, "written");
    const outcome = runProgram({
      rows: [
        { call: "openat", args: [-100, path, 0o101, 0o644], as: "fd" },
        { call: "write", args: [{ result: "fd" }, "hello", 5], as: "count" },
        { call: "close", args: [{ result: "fd" }] },
        { end: { result: "count" } },
      ],
    });
    assert.equal(outcome.failure, undefined);
    assert.equal(outcome.value, 5);
    assert.equal(readFileSync(path, "utf8"), "hello");
  });

  it("a child never goes on as its parent, nor a parent as its child, however they run", () => {
    for (let round = 0; round < 500; round++) {
      const outcome = runProgram({
        rows: [
          { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "child" },
          { jump: "parent", if: [{ last: true }, "!=", 0] },
          { call: "sched_yield", args: [] },
          { call: "exit_group", args: [7] },
          { label: "parent" },
          { call: "sched_yield", args: [] },
          { call: "wait4", args: [{ result: "child" }, { buffer: "status" }, 0, 0], as: "waited" },
          { end: { result: "child" } },
        ],
        buffers: { status: 8 },
      });
      assert.ok(outcome.value > 0, `round ${round}`);
      assert.equal(outcome.result("waited"), outcome.value);
      assert.equal(wait4Status(outcome), 7 << 8);
    }
  });

  it("the result of clone cannot be compared: it lies where both processes would read it", () => {
    const rows: readonly Row[] = [
      { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ result: "pid" }, "!=", 0] },
      { label: "parent" },
    ];
    assert.throws(() => runProgram({ rows }), /"pid" of clone: expected \{ last: true \}/);
  });

  it("but with another result it can be: which child has ended", () => {
    const rows: readonly Row[] = [
      { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      { call: "exit_group", args: [0] },
      { label: "parent" },
      { call: "wait4", args: [{ result: "pid" }, 0, 0, 0], as: "ended" },
      { jump: "same", if: [{ result: "ended" }, "==", { result: "pid" }] },
      { end: 1 },
      { label: "same" },
      { end: 0 },
    ];
    assert.equal(runProgram({ rows }).value, 0);
  });

  it("a failing row ends the program, and is reported with its arguments", () => {
    const outcome = runProgram({
      rows: [
        { call: "getpid", args: [], as: "pid" },
        { call: "mkdirat", args: [{ result: "pid" }, "x", 0o755], note: "just a try" },
        { end: 1 },
      ],
    });
    assert.equal(outcome.value, -9);
    assert.deepEqual(outcome.failure, {
      row: 1,
      call: "mkdirat",
      args: [process.pid, "x", 0o755],
      errno: "EBADF",
      note: "just a try",
    });
  });

  it("ignored errnos are no failure, others are", () => {
    const rows = (ignore: "EBADF" | "ENOENT"): Program => ({
      rows: [{ call: "close", args: [9999], ignore: ["EINTR", ignore] }, { end: 7 }],
    });
    assert.equal(runProgram(rows("EBADF")).value, 7);
    assert.equal(runProgram(rows("EBADF")).failure, undefined);
    assert.equal(runProgram(rows("ENOENT")).value, -9);
  });

  it("all eight ignored errnos count", () => {
    const ignore = ["EPERM", "ENOENT", "ESRCH", "EINTR", "EIO", "ENXIO", "E2BIG", "EBADF"] as const;
    assert.equal(
      runProgram({ rows: [{ call: "close", args: [9999], ignore }, { end: 7 }] }).value,
      7,
    );
  });

  it("onError jumps, for one row or for all", () => {
    const handler: Row[] = [{ end: 1 }, { label: "handler" }, { end: 42 }];
    const one: Row = { call: "close", args: [9999], onError: "handler" };
    assert.equal(runProgram({ rows: [one, ...handler] }).value, 42);
    const all: Row = { call: "close", args: [9999] };
    assert.equal(runProgram({ rows: [all, ...handler], onError: "handler" }).value, 42);
  });

  for (const [left, how, right, taken] of [
    [1, "==", 1, true],
    [1, "==", 2, false],
    [1, "!=", 2, true],
    [2, "!=", 2, false],
    [-1, "<", 0, true],
    [0, "<", -1, false],
    [0, "<", 0, false],
    [-5, "<=", -5, true],
    [-4, "<=", -5, false],
    [2, ">", 1, true],
    [-2, ">", 1, false],
    [1, ">=", 1, true],
    [0, ">=", 1, false],
    [6, "&", 2, true],
    [4, "&", 2, false],
    [2 ** 40, ">", 2 ** 33, true],
    [-(2 ** 40), "<", 1, true],
  ] as const)
    it(`jump if ${left} ${how} ${right} is ${taken ? "" : "not "}taken`, () => {
      const outcome = runProgram({
        rows: [
          { jump: "there", if: [left, how, right] },
          { end: 0 },
          { label: "there" },
          { end: 1 },
        ],
      });
      assert.equal(outcome.value, taken ? 1 : 0);
    });

  for (const [left, how, right, value] of [
    [7, "+", -9, -2],
    [7, "-", 9, -2],
    [-3, "*", 5, -15],
    [12, "&", 10, 8],
    [12, "|", 10, 14],
    [12, "^", 10, 6],
    [3, "<<", 33, 3 * 2 ** 33],
    [2 ** 40, ">>", 38, 4],
  ] as const)
    it(`computes ${left} ${how} ${right}`, () => {
      const rows: Row[] = [{ compute: [left, how, right], as: "x" }, { end: { result: "x" } }];
      assert.equal(runProgram({ rows }).value, value);
    });

  it("loops over a counter in memory", () => {
    const outcome = runProgram({
      rows: [
        { label: "again" },
        { compute: [{ load: "counter", width: 8 }, "+", 3], as: "next" },
        { store: { buffer: "counter" }, value: { result: "next" }, width: 8 },
        { jump: "again", if: [{ result: "next" }, "<", 300] },
        { end: { load: "counter", width: 4 } },
      ],
      buffers: { counter: 8 },
    });
    assert.equal(outcome.value, 300);
  });

  it("stores, reads and copies each width", () => {
    const outcome = runProgram({
      rows: [
        { store: { buffer: "b", offset: 1 }, value: 0x1ff, width: 1 },
        { store: { buffer: "b", offset: 2 }, value: 0x1_ffee, width: 2 },
        { store: { buffer: "b", offset: 4 }, value: -2, width: 4 },
        { store: { buffer: "b", offset: 8 }, value: 0x1122_3344_5566_7788n, width: 8 },
        { copy: { buffer: "b" }, to: { buffer: "c", offset: 1 }, length: 16 },
        { read: { buffer: "c", offset: 5 }, width: 4, as: "word" },
        { read: { buffer: "b", offset: 2 }, width: 2, as: "half" },
        { read: { buffer: "b", offset: 1 }, width: 1, as: "byte" },
        { read: { buffer: "b", offset: 8 }, width: 8, as: "long" },
        { end: { load: "b", offset: 4, width: 4 } },
      ],
      buffers: { b: 16, c: 24 },
    });
    assert.equal(outcome.value, -2);
    assert.equal(outcome.result("word"), 0xffff_fffe);
    assert.equal(outcome.result("half"), 0xffee);
    assert.equal(outcome.result("byte"), 0xff);
    assert.equal(BigInt(outcome.result("long")), BigInt(Number(0x1122_3344_5566_7788n)));
    const bytes = [
      0, 0xff, 0xee, 0xff, 0xfe, 0xff, 0xff, 0xff, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
    ];
    assert.deepEqual([...outcome.buffer("c")].slice(1, 17), bytes);
  });

  it("structs point at strings, vectors and buffers", () => {
    const outcome = runProgram({
      rows: [
        { call: "pipe2", args: [{ buffer: "pipe" }, 0o2000000] },
        {
          call: "writev",
          args: [
            { load: "pipe", offset: 4, width: 4 },
            { struct: iovecs(5, 6), pointers: { 0: "hello", 16: " world" } },
            2,
          ],
          as: "count",
        },
        { call: "read", args: [{ load: "pipe", width: 4 }, { buffer: "text" }, 32] },
        { call: "close", args: [{ load: "pipe", width: 4 }] },
        { call: "close", args: [{ load: "pipe", offset: 4, width: 4 }] },
        { end: { result: "count" } },
      ],
      buffers: { pipe: 8, text: 32 },
    });
    assert.equal(outcome.value, 11);
    assert.equal(Buffer.from(outcome.buffer("text").subarray(0, 11)).toString(), "hello world");
  });

  it("runs another program and goes on with its result", () => {
    using inner = loadProgram({
      rows: [{ call: "getppid", args: [], as: "x" }, { end: { last: true } }],
    });
    const outcome = runProgram({
      rows: [
        { run: inner.address, as: "inner" },
        { compute: [{ last: true }, "-", 1], as: "y" },
        { end: { result: "y" } },
      ],
    });
    assert.equal(outcome.value, process.ppid - 1);
  });

  for (const [how, flags] of [
    ["shares memory (vfork)", CLONE_VM | CLONE_VFORK],
    ["is a copy", 0],
  ] as const) {
    it(`a child that ${how} executes a program`, () => {
      const path = join(folder, `executed-${flags}`);
      const argv = { strings: ["sh", "-c", `echo "$GREETING" > ${path}; exit 3`] };
      const outcome = runProgram(
        forking(flags, [
          { call: "execve", args: ["/bin/sh", argv, { strings: ["GREETING=hello"] }] },
        ]),
      );
      assert.equal(outcome.failure, undefined);
      assert.equal(wait4Status(outcome), 3 << 8);
      assert.equal(readFileSync(path, "utf8"), "hello\n");
    });

    it(`a child that ${how} reports the row that failed`, () => {
      const outcome = runProgram(
        forking(flags, [
          { call: "chdir", args: [folder] },
          { call: "execve", args: ["/no/such/program", { strings: ["x"] }, { strings: [] }] },
        ]),
      );
      assert.equal(wait4Status(outcome), 99 << 8);
      assert.equal(outcome.failure?.call, "execve");
      assert.equal(outcome.failure?.errno, "ENOENT");
      assert.equal(outcome.failure?.args[0], "/no/such/program");
      assert.notEqual(process.cwd(), folder);
    });
  }

  it("leaves no zombie and this process untouched after many children", function () {
    this.timeout(60_000);
    const rows = forking(CLONE_VM | CLONE_VFORK, [{ call: "exit_group", args: [5] }]);
    for (let count = 0; count < 300; count++) assert.equal(wait4Status(runProgram(rows)), 5 << 8);
    assert.ok(!existsSync(join(folder, "nothing")));
  });

  it("falling off the end is the value 0", () => {
    assert.equal(runProgram({ rows: [{ call: "getpid", args: [] }] }).value, 0);
  });

  for (const [why, program] of [
    ["an unknown label", { rows: [{ jump: "nowhere" }] }],
    ["a label twice", { rows: [{ label: "a" }, { label: "a" }] }],
    ["an unknown result", { rows: [{ end: { result: "nothing" } }] }],
    ["an unknown buffer", { rows: [{ end: { load: "nothing", width: 4 } }] }],
    [
      "an offset outside its buffer",
      { rows: [{ end: { buffer: "b", offset: 9 } }], buffers: { b: 8 } },
    ],
    ["seven arguments", { rows: [{ call: "getpid", args: [1, 2, 3, 4, 5, 6, 7] }] }],
  ] as const satisfies readonly (readonly [string, Program])[])
    it(`refuses ${why}`, () => assert.throws(() => runProgram(program), RangeError));

  it("refuses a string with a NUL", () => {
    assert.throws(() => encodeProgram({ rows: [{ call: "chdir", args: ["a\0b"] }] }), TypeError);
  });

  it("formatRow() reads like strace", () => {
    const row: Row = {
      call: "openat",
      args: [-100, "/etc", { result: "x" }],
      as: "fd",
      ignore: ["ENOENT"],
      note: "why",
    };
    assert.equal(formatRow(row), 'fd = openat(AT_FDCWD, "/etc", x)  # or ENOENT  # why');
  });

  for (const [text, row] of [
    [
      'mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, 0)',
      { call: "mount", args: ["proc", ".", "proc", 14, 0] },
    ],
    ["clone(CLONE_NEWPID|SIGCHLD)", { call: "clone", args: [0x2000_0011] }],
    ["prctl(PR_SET_DUMPABLE, 0)", { call: "prctl", args: [4, 0] }],
    ['mkdirat(AT_FDCWD, "d", 0755)', { call: "mkdirat", args: [-100, "d", 0o755] }],
    ['openat(3, "f", O_RDONLY)', { call: "openat", args: [3, "f", 0] }],
    ["unshare(CLONE_NEWUTS|0x1)", { call: "unshare", args: [0x0400_0001] }],
    ["prctl(4711)", { call: "prctl", args: [4711] }],
  ] as const satisfies readonly (readonly [string, Row])[])
    it(`formatRow() writes ${text}`, () => assert.equal(formatRow(row), text));
});

function iovecs(...lengths: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16 * lengths.length);
  const view = new DataView(bytes.buffer);
  lengths.forEach((length, index) => {
    view.setUint32(16 * index + 8, length, true);
  });
  return bytes;
}
