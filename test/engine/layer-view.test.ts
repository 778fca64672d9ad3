import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { LayerView } from "../../engine/spec/layer-view.ts";
import { call, XATTR_CREATE } from "../../linux/index.ts";

describe("LayerView", () => {
  let root = "";
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "manyworlds-view-"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function layer(name: string, files: Readonly<Record<string, string>>): string {
    const directory = join(root, name);
    mkdirSync(directory);
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      if (text.startsWith("-> ")) symlinkSync(text.slice(3), join(directory, path));
      else writeFileSync(join(directory, path), text);
    }
    return directory;
  }

  function read(layers: readonly string[], path = "/etc/passwd"): string {
    using view = new LayerView(layers);
    return view.readText(path, 1000);
  }

  it("reads the uppermost file", () => {
    const lower = layer("lower", { "etc/passwd": "low", "etc/group": "g" });
    const upper = layer("upper", { "etc/passwd": "up" });
    assert.equal(read([upper, lower]), "up");
    assert.equal(read([upper, lower], "/etc/group"), "g");
    assert.equal(read([upper, lower], "/etc/none"), "");
  });
  it("follows links across layers, and never out of the stack", () => {
    const lower = layer("lower", {
      "data/passwd": "mine",
      "data/deep": "-> ../../../../etc/shadow",
    });
    const upper = layer("upper", {
      "etc/passwd": "-> ../data/link",
      "data/link": "-> /data/passwd",
      out: "-> ../../../../../../etc/hostname",
      loop: "-> loop",
    });
    assert.equal(read([upper, lower]), "mine");
    assert.equal(read([upper, lower], "/out"), "");
    assert.equal(read([upper, lower], "/data/deep"), "");
    assert.equal(read([upper, lower], "/loop"), "");
    assert.equal(read([upper, lower], "/../../data/passwd"), "mine");
  });
  it("reads no file that is too large, and nothing that is no file", () => {
    const only = layer("only", { "etc/passwd": "x".repeat(1001), "etc/dir/file": "" });
    execFileSync("mkfifo", [join(only, "etc/fifo")]);
    assert.equal(read([only]), "");
    assert.equal(read([only], "/etc/dir"), "");
    assert.equal(read([only], "/etc/fifo"), "");
  });
  it("sees no file below what a layer made a file", () => {
    const lower = layer("lower", { "etc/passwd": "low" });
    const upper = layer("upper", { etc: "no directory any more" });
    assert.equal(read([upper, lower]), "");
  });
  it("honours whiteouts and opaque directories", function () {
    if (process.getuid?.() !== 0) return this.skip(); // mknod and trusted.* need root
    const lower = layer("lower", { "etc/passwd": "low", "opt/file": "low" });
    const upper = layer("upper", { "opt/other": "up" });
    mkdirSync(join(upper, "etc"));
    execFileSync("mknod", [join(upper, "etc/passwd"), "c", "0", "0"]);
    const value = Buffer.from("y");
    call("setxattr", join(upper, "opt"), "trusted.overlay.opaque", value, 1, XATTR_CREATE);
    assert.equal(read([upper, lower]), "");
    assert.equal(read([upper, lower], "/opt/file"), "");
    assert.equal(read([upper, lower], "/opt/other"), "up");
  });
});
