import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeElf, type Program } from "../../linux/index.ts";

describe("linux/elf", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-elf-"));
  });
  after(() => rmSync(folder, { recursive: true }));

  const execute = (program: Program) => {
    const path = join(folder, "program");
    writeFileSync(path, encodeElf(program), { mode: 0o755 });
    return spawnSync(path, { encoding: "utf8" });
  };

  it("is an executable that makes the program's calls and exits with its value", () => {
    const result = execute({ rows: [{ call: "write", args: [1, "hello\n", 6] }, { end: 7 }] });
    assert.equal(result.stdout, "hello\n");
    assert.equal(result.status, 7);
  });

  it("has buffers, strings and structs at fixed addresses", () => {
    const struct = new Uint8Array(16);
    struct[8] = 3;
    const result = execute({
      rows: [
        { call: "getcwd", args: [{ buffer: "where" }, 4096], as: "length" },
        { compute: [{ result: "length" }, "-", 1], as: "shown" },
        { call: "write", args: [1, { buffer: "where" }, { result: "shown" }] },
        { call: "writev", args: [1, { struct, pointers: { 0: " ok" } }, 1] },
        { end: 0 },
      ],
      buffers: { where: 4096 },
    });
    assert.equal(result.stdout, `${process.cwd()} ok`);
  });

  it("exits with the errno when a call fails", () => {
    assert.equal(execute({ rows: [{ call: "close", args: [99] }] }).status, 256 - 9);
  });

  it("is a few kilobytes", () => {
    assert.ok(encodeElf({ rows: [{ end: 0 }], buffers: { large: 1_000_000 } }).length < 5000);
  });
});
