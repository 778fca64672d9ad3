import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { call, F_SETFD } from "../../../linux/index.ts";
import { bunExecutable } from "../../../scripts/bun.ts";
import {
  type ConfinedStart,
  ConfinementError,
  startConfined,
} from "../../../vmm-sandbox/confine/index.ts";

const project = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");
const attempts = join(project, "test/vmm-sandbox/confine/attempts.ts");
const [EPERM, SIGSYS] = [1, 31];
const isRoot = process.geteuid?.() === 0;

interface End {
  readonly output: string;
  readonly exitCode: number;
  readonly signal: number;
}

function run(args: readonly string[], more: Partial<ConfinedStart> = {}): End {
  const folder = mkdtempSync(join(tmpdir(), "confine-"));
  try {
    const path = join(folder, "output");
    const output = openSync(path, "w");
    const { pid, pidfd } = startConfined({
      executable: bunExecutable(),
      args: ["bun", ...args],
      env: [],
      readable: [project],
      stdio: [0, output, 2],
      ...more,
    });
    closeSync(output);
    const status = new Uint8Array(4);
    call("wait4", pid, status, 0, 0);
    pidfd.close();
    const word = new DataView(status.buffer).getInt32(0, true);
    return { output: readFileSync(path, "utf8"), exitCode: word >> 8, signal: word & 0x7f };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function attempt(stage: "open" | "sealed", name: string): unknown {
  const { output, exitCode, signal } = run([attempts, stage, name]);
  assert.deepEqual({ exitCode, signal }, { exitCode: 0, signal: 0 }, output);
  return JSON.parse(output);
}

describe("a confined monitor", function () {
  this.timeout(60_000);

  it("sees no file, process or network of the host, and has no capability", () => {
    const seen = attempt("open", "see the host") as Record<string, unknown>;
    assert.deepEqual(seen["processes"], ["1"]);
    assert.deepEqual(seen["network"], []);
    assert.equal(seen["pid"], 1);
    const capabilities = ["Inh", "Prm", "Eff", "Bnd", "Amb"].map(
      (set) => `Cap${set}:\t${"0".repeat(16)}`,
    );
    assert.deepEqual(seen["status"], [...capabilities, "NoNewPrivs:\t1"]);
    const files = seen["files"] as string[];
    assert.ok(
      files.includes("proc") && !files.includes("etc") && !files.includes("root"),
      `${files}`,
    );
  });

  it("has no core file, no locked memory, no priority, and threads by the thousand at most", () => {
    const { limits } = attempt("open", "see the host") as { readonly limits: string };
    for (const name of ["core file size", "locked memory", "nice priority", "realtime priority"])
      assert.match(limits, new RegExp(`^Max ${name} +0 +0 `, "m"));
    const [, threads] = /^Max processes +(\d+) /m.exec(limits) ?? [];
    assert.ok(Number(threads) <= 4096, limits);
  });

  it("writes nowhere and reads no secret", () => {
    assert.equal(attempt("open", "write to the root"), "EROFS");
    assert.equal(attempt("open", "read a secret"), "ENOENT");
  });

  it("goes on once sealed: compiles code, starts threads, waits", () => {
    assert.deepEqual(attempt("sealed", "work on"), { sum: sumOfWork(), said: 1, code: 0 });
  });

  it("still makes the ioctls that it was promised", () => {
    const ENOTTY = 25;
    assert.equal(attempt("sealed", "allowed ioctl"), -ENOTTY);
  });

  for (const name of [
    "socket",
    "openat",
    "ioctl",
    "kill",
    "another process",
    "raise a limit",
    "be traceable",
  ])
    it(`is refused, once sealed: ${name}`, () => {
      assert.equal(attempt("sealed", name), -EPERM);
    });

  for (const name of ["execve", "ptrace", "mount", "unshare"])
    it(`is killed, once sealed, for ${name}`, () => {
      const { signal, output } = run([attempts, "sealed", name]);
      assert.deepEqual({ signal, output }, { signal: SIGSYS, output: "" });
    });

  it("gets the descriptors that it is given, under the same numbers", () => {
    const folder = mkdtempSync(join(tmpdir(), "confine-kept-"));
    writeFileSync(join(folder, "disk"), "sectors");
    const disk = openSync(join(folder, "disk"), "r");
    const script = `console.log(require("fs").readFileSync(${disk}, "utf8"))`;
    assert.equal(run(["-e", script], { keep: [disk] }).output, "sectors\n");
    closeSync(disk);
    rmSync(folder, { recursive: true });
  });

  it("reads what lies below a folder that only its starter may enter", () => {
    const folder = mkdtempSync(join(tmpdir(), "confine-closed-")); // 0700
    mkdirSync(join(folder, "inner"));
    writeFileSync(join(folder, "inner/script.js"), "console.log('read')");
    const readable = [join(folder, "inner")];
    assert.equal(run([join(folder, "inner/script.js")], { readable }).output, "read\n");
    rmSync(folder, { recursive: true });
  });

  it("gets no other descriptor, even one that is to be inherited", () => {
    const other = openSync("/etc/hostname", "r");
    call("fcntl", other, F_SETFD, 0);
    const script = `try { require("fs").fstatSync(${other}); console.log("there") } catch (error) { console.log(error.code) }`;
    assert.equal(run(["-e", script]).output, "EBADF\n");
    closeSync(other);
  });

  it("changes owners in directories that its guest shares, and only there", function () {
    if (!isRoot) {
      console.log("      skipped: only root may give files away");
      this.skip();
    }
    const folder = mkdtempSync(join(tmpdir(), "confine-shared-"));
    writeFileSync(join(folder, "file"), "");
    const script = `const fs = require("fs"); fs.chownSync("/shared/file", 1234, 5678);
      fs.writeFileSync("/shared/new", ""); console.log(fs.existsSync("${folder}"))`;
    const shared = [{ source: folder, target: "/shared", readOnly: false }];
    assert.equal(run(["-e", script], { shared }).output, "false\n");
    const { uid, gid } = statSync(join(folder, "file"));
    assert.deepEqual({ uid, gid }, { uid: 1234, gid: 5678 });
    assert.ok(statSync(join(folder, "new")).isFile());
    rmSync(folder, { recursive: true });
  });

  it("is confined for an ordinary user as well", function () {
    if (!isRoot || !existsSync("/usr/bin/setpriv")) {
      console.log("      skipped: only root becomes somebody else, by setpriv");
      this.skip();
    }
    const drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const mocha = ["--import", "tsx", "node_modules/mocha/bin/mocha.js", "--no-config"];
    const what = ["--grep", "sees no file|openat|execve", fileURLToPath(import.meta.url)];
    const { status, stdout } = spawnSync("setpriv", [...drop, "node", ...mocha, ...what], {
      cwd: project,
      encoding: "utf8",
      timeout: 50_000,
    });
    assert.equal(status, 0, stdout);
    assert.match(stdout, /3 passing/);
  });

  it("ends with whoever started it, however that one ends", async () => {
    const orphan = join(project, "test/vmm-sandbox/confine/orphan.ts");
    const { stdout, signal } = spawnSync(bunExecutable(), [orphan], { encoding: "utf8" });
    assert.equal(signal, "SIGKILL");
    assert.match(stdout, /^\d+\n$/);
    for (let tries = 0; isAlive(Number(stdout)); tries++) {
      assert.ok(tries < 100, "it is still there after five seconds");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  it("is not started when something that it is to see is missing", () => {
    assert.throws(
      () =>
        run(["-e", "1"], { shared: [{ source: "/nonexistent", target: "/x", readOnly: true }] }),
      (error: unknown) =>
        error instanceof ConfinementError && /open_tree failed with ENOENT/.test(error.message),
    );
  });
});

function sumOfWork(): number {
  let sum = 0;
  for (let i = 0; i < 3_000_000; i++) sum = (sum * 31 + i) % 1_000_003;
  return sum;
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
