import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { bootIdSize, calledAs, imageHeader } from "../../runtime/frozen/layout.ts";
import { joinRuns, ownPages, parseMappings } from "../../runtime/frozen/mappings.ts";
import { BuiltDoor } from "./built-door.ts";
import { cannotRunContainers } from "./sandbox.ts";

describe("memory of another process", () => {
  it("reads lines of /proc/PID/maps", () => {
    const text = [
      "00200000-01a39000 r--p 00000000 fe:00 2302403                  /a folder/manyworlds",
      "7f0000000000-7f0000001000 rwxp 00000000 00:00 0 ",
      "7ffc32795000-7ffc327b6000 rw-p 00000000 00:00 0                [stack]",
      "",
    ].join("\n");
    assert.deepEqual(parseMappings(text), [
      { start: 0x200000, end: 0x1a39000, protection: 1, offset: 0, name: "/a folder/manyworlds" },
      { start: 0x7f0000000000, end: 0x7f0000001000, protection: 7, offset: 0, name: "" },
      { start: 0x7ffc32795000, end: 0x7ffc327b6000, protection: 3, offset: 0, name: "[stack]" },
    ]);
  });

  for (const [why, line] of [
    ["shared memory", "7f0000000000-7f0000001000 rw-s 00000000 00:01 5 /dev/shm/x"],
    ["no range", "hello"],
    ["an empty range", "1000-1000 rw-p 00000000 00:00 0"],
    ["no access", "1000-2000"],
  ] as const)
    it(`refuses ${why}`, () => assert.throws(() => parseMappings(line), SyntaxError));

  it("finds the pages that are the process's own, and joins what lies close", () => {
    const [untouched, file, own, swapped] = [0, 0xa000_0000, 0x8000_0000, 0x4000_0000];
    const pages = [own, own, untouched, file, swapped, untouched, untouched, own];
    const runs = ownPages(new Uint32Array(pages.flatMap((high) => [0, high])), 0x10000);
    assert.deepEqual(runs, [
      { start: 0x10000, end: 0x12000 },
      { start: 0x14000, end: 0x15000 },
      { start: 0x17000, end: 0x18000 },
    ]);
    assert.deepEqual(joinRuns(runs, 1), runs);
    assert.deepEqual(joinRuns(runs, 2), [{ start: 0x10000, end: 0x18000 }]);
  });
});

/** The door in front of the real executable, as `npm run build` makes it. */
describe("a frozen executable", function () {
  this.timeout(180_000);
  let sandbox: BuiltDoor;
  let door: string;
  let executable: string;
  before(function () {
    if (cannotRunContainers() !== undefined) {
      console.log(`    skipped: ${cannotRunContainers()}`);
      this.skip();
    }
    sandbox = new BuiltDoor();
    ({ door, executable } = sandbox);
  });
  afterEach(() => {
    if (executable !== undefined) rmSync(imagePath(), { force: true, recursive: true });
  });
  after(() => sandbox?.[Symbol.dispose]());

  const imagePath = () => sandbox.imagePath;
  const words = (id?: string) => sandbox.words(id);
  const bundle: BuiltDoor["configure"] = (...args) => sandbox.configure(...args);
  /** Who runs hooks: the runtime's process. */
  const tell = () => {
    const hook = { path: "/bin/sh", args: ["sh", "-c", `readlink /proc/$PPID/exe > ${told()}`] };
    bundle("true", (config) => ({ ...config, hooks: { createRuntime: [hook] } }));
  };
  const told = () => join(sandbox.directory, "told");
  const runs = (env: NodeJS.ProcessEnv = {}) => {
    tell();
    const global = ["--root", sandbox.stateRoot];
    const make = [...global, "create", "--bundle", sandbox.bundle, sandbox.id];
    const options = { encoding: "utf8", env: { ...process.env, ...env } } as const;
    assert.equal(spawnSync(door, make, { ...options, stdio: "ignore" }).status, 0);
    const removed = spawnSync(door, [...global, "delete", "--force", sandbox.id], options);
    assert.equal(removed.status, 0, removed.stderr);
    const exe = readFileSync(told(), "utf8").trim();
    assert.ok(exe === door || exe === executable, exe);
    return exe === door ? "thawed" : "started";
  };
  /** Of 300 starts one finds something of the kernel's where the image belongs, and is cold. */
  const thaws = () => runs() === "thawed" || runs() === "thawed";
  const becomes = async (what: () => boolean) => {
    for (let left = 200; left > 0 && !what(); left--) await setTimeout(50);
    assert.ok(what(), "Waited in vain");
  };
  const freeze = async () => {
    assert.equal(runs(), "started");
    await becomes(() => existsSync(imagePath()));
  };

  it("is left by the first start, and the next ones go on from there", async () => {
    await freeze();
    assert.equal(statSync(imagePath()).mode & 0o7777, 0o600);
    const ways = Array.from({ length: 6 }, () => runs());
    const thawed = ways.filter((way) => way === "thawed").length;
    assert.ok(thawed >= 5, ways.join());
  });

  it("is neither made nor used where the environment says so", async () => {
    assert.equal(runs({ MANYWORLDS_COLD: "1" }), "started");
    await setTimeout(1000);
    assert.ok(!existsSync(imagePath()));
    await freeze();
    assert.equal(runs({ MANYWORLDS_COLD: "" }), "started");
  });

  const edited = (offset: number) => () => {
    const bytes = readFileSync(imagePath());
    bytes[offset] = (bytes[offset] ?? 0) ^ 1;
    writeFileSync(imagePath(), bytes);
  };
  const tampered: readonly (readonly [why: string, tamper: () => void])[] = [
    ["others may read it", () => chmodSync(imagePath(), 0o644)],
    ["somebody else owns it", () => chownSync(imagePath(), 1000, 1000)],
    ["it is of another layout", edited(imageHeader.magic)],
    ["it is another executable's", edited(imageHeader.identity + 8)],
    ["it is of another boot", edited(imageHeader.boot + bootIdSize - 1)],
    ["it is empty", () => truncateSync(imagePath())],
    [
      "it is a link",
      () => {
        renameSync(imagePath(), `${imagePath()}.moved`);
        symlinkSync(`${imagePath()}.moved`, imagePath());
      },
    ],
    [
      "it is a directory",
      () => {
        rmSync(imagePath());
        spawnSync("mkdir", ["-m", "600", imagePath()]);
      },
    ],
    ["the executable was touched", () => utimesSync(executable, 1, 1)],
  ];
  for (const [why, tamper] of tampered)
    it(`is not used when ${why}`, async () => {
      await freeze();
      tamper();
      assert.equal(runs(), "started");
      rmSync(`${imagePath()}.moved`, { force: true });
    });

  it("is not used by a door that cannot place it", async () => {
    await freeze();
    bundle("echo ran");
    // Less address space than JavaScriptCore reserves: neither way can start, and the old one says so.
    const script = `ulimit -v 900000; exec "$0" "$@"`;
    const { status, stdout } = spawnSync("sh", ["-c", script, door, ...words()]);
    assert.notEqual(status, 0);
    assert.equal(stdout.toString(), "");
    assert.ok(thaws());
  });

  it("is made again when the executable has been replaced", async () => {
    await freeze();
    copyFileSync(executable, `${executable}.new`);
    const old = imagePath();
    renameSync(`${executable}.new`, executable);
    rmSync(old);
    await freeze();
    assert.ok(thaws());
  });

  it("has what each start brings: words, variables, signals, descriptors, PID", async () => {
    await freeze();
    bundle("cat <&3; env | grep LISTEN; exit 3");
    writeFileSync(join(sandbox.directory, "passed"), "passed\n");
    const passed = `exec 3< ${sandbox.directory}/passed; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`;
    const { status, stdout } = spawnSync("sh", ["-c", passed, door, ...words()]);
    assert.equal(status, 3);
    assert.equal(stdout.toString(), "passed\nLISTEN_FDS=1\nLISTEN_PID=1\n");
    bundle('trap "exit 5" USR1; echo ready; while :; do sleep 0.1; done', (config) => ({
      ...config,
      hooks: { poststart: [{ path: "/bin/true" }] }, // so the thawed process waits itself
    }));
    const child = spawn(door, words(), { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    child.kill("SIGUSR1");
    const [code] = await once(child, "exit");
    assert.equal(code, 5);
  });

  it("survives its garbage collector, and errors with a stack", async () => {
    await freeze();
    const annotations = Object.fromEntries(
      Array.from({ length: 60_000 }, (_, index) => [`key.${index}`, "x".repeat(100)]),
    );
    for (let round = 0; round < 5; round++) {
      bundle("echo ran", (config) => ({ ...config, annotations }));
      const { status, stdout } = spawnSync(door, words(), { encoding: "utf8" });
      assert.deepEqual({ status, stdout }, { status: 0, stdout: "ran\n" });
    }
    bundle("true", (config) => ({ ...config, hostname: "\0" }));
    const { status, stderr } = spawnSync(door, words(), { encoding: "utf8" });
    assert.equal(status, 1);
    assert.match(stderr, /NUL/);
  });

  it("runs many times in a row, and many at once", async () => {
    await freeze();
    bundle("echo ran");
    const one = async (id: string) => {
      const child = spawn(door, words(id), { stdio: ["ignore", "pipe", "inherit"] });
      const chunks: Buffer[] = [];
      child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
      const [code] = await once(child, "close");
      assert.deepEqual([code, Buffer.concat(chunks).toString()], [0, "ran\n"], id);
    };
    for (let round = 0; round < 20; round++)
      await Promise.all([1, 2, 3, 4, 5].map((n) => one(`${sandbox.id}-${round}-${n}`)));
  });

  it("is never half made: not by several makers, nor by one that is killed", async () => {
    const maker = () => spawn(executable, [], { argv0: calledAs.maker, stdio: "ignore" });
    for (let delayMs = 10; delayMs < 200; delayMs += 30) {
      const child = maker();
      await setTimeout(delayMs);
      child.kill("SIGKILL");
      await once(child, "exit");
      assert.equal(runs({ MANYWORLDS_COLD: "1" }), "started");
    }
    rmSync(imagePath(), { force: true });
    await Promise.all([maker(), maker(), maker()].map((child) => once(child, "exit")));
    await becomes(() => existsSync(imagePath()));
    assert.ok(thaws());
  });
});
