import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call, hasErrno, O_CREAT, O_PATH, O_RDONLY, O_WRONLY, Root } from "../../linux/index.ts";

describe("linux/root", () => {
  let folder: string;
  let root: Root;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-root-"));
    mkdirSync(join(folder, "rootfs/etc"), { recursive: true });
    writeFileSync(join(folder, "secret"), "outside");
    writeFileSync(join(folder, "rootfs/secret"), "inside");
    symlinkSync("../../../../secret", join(folder, "rootfs/etc/up"));
    symlinkSync("/secret", join(folder, "rootfs/etc/absolute"));
    symlinkSync("/proc/self/cwd", join(folder, "rootfs/etc/magic"));
    root = Root.open(join(folder, "rootfs"));
  });
  after(() => {
    root[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const contentOf = (path: string) => {
    using fd = root.open(path, O_RDONLY);
    const bytes = new Uint8Array(64);
    return Buffer.from(bytes.subarray(0, call("read", fd, bytes, bytes.length))).toString();
  };

  for (const [why, path] of [
    ["dot-dot", "../../secret"],
    ["a symlink upwards", "etc/up"],
    ["an absolute symlink", "etc/absolute"],
    ["an absolute path", "/secret"],
  ] as const)
    it(`${why} stays inside`, () => assert.equal(contentOf(path), "inside"));

  it("a magic link of the host's /proc is not reachable", () => {
    assert.throws(
      () => root.open("etc/magic", O_PATH),
      (error) => hasErrno(error, "ENOENT"),
    );
  });

  it("makeDirectories() makes what is missing, through symlinks that stay inside", () => {
    symlinkSync("/etc", join(folder, "rootfs/alias"));
    root.makeDirectories("alias/a/b");
    root.makeDirectories("alias/a/b");
    root.open("etc/a/b/file", O_CREAT | O_WRONLY, 0o600).close();
    assert.equal(readFileSync(join(folder, "rootfs/etc/a/b/file"), "utf8"), "");
  });

  it("openParent() refuses paths that name nothing below the root", () => {
    for (const path of ["", "/", "..", "etc/.."])
      assert.throws(() => root.openParent(path), TypeError);
  });

  it("exists() follows links inside only", () => {
    assert.ok(root.exists("etc/up"));
    assert.ok(!root.exists("etc/nothing"));
    assert.ok(!root.exists("secret/below"));
  });
});
