import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseDetachKeys } from "../../cli/values/detach-keys.ts";
import { readEnvFile, resolveEnv } from "../../cli/values/pair.ts";
import { parseBytes, parseCpus, parseDurationMs } from "../../cli/values/scalar.ts";

describe("parseBytes()", () => {
  const cases = [
    ["0", 0],
    ["512", 512],
    ["1b", 1],
    ["1k", 1024],
    ["1K", 1024],
    ["1kb", 1024],
    ["1KiB", 1024],
    ["1.5g", 1610612736],
    ["2 GB", 2147483648],
    ["1t", 1099511627776],
  ] as const;
  for (const [text, bytes] of cases) {
    it(`reads "${text}" as ${bytes}`, () => assert.equal(parseBytes(text), bytes));
  }
  for (const text of ["", "k", "-1", "1e3", "1x", "0x10", "1 2", "99999999999999999999g"]) {
    it(`refuses "${text}"`, () => assert.throws(() => parseBytes(text), SyntaxError));
  }
});

describe("parseCpus(), parseDurationMs(), parseDetachKeys()", () => {
  it("reads docker's decimals", () => {
    assert.equal(parseCpus("0"), 0);
    assert.equal(parseCpus("2."), 2);
    assert.throws(() => parseCpus("0.001"), SyntaxError);
    assert.throws(() => parseCpus("Infinity"), SyntaxError);
  });
  it("reads Go's durations", () => {
    assert.equal(parseDurationMs("1h30m"), 5400000);
    assert.equal(parseDurationMs("1.5s"), 1500);
    for (const bad of ["", "5", "1x", "s", "1s junk"]) {
      assert.throws(() => parseDurationMs(bad), SyntaxError);
    }
  });
  it("reads keys", () => {
    assert.deepEqual([...parseDetachKeys("ctrl-p,ctrl-q")], [16, 17]);
    assert.deepEqual([...parseDetachKeys("ctrl-@,ctrl-[,a")], [0, 27, 97]);
    assert.deepEqual([...parseDetachKeys("")], []);
    assert.throws(() => parseDetachKeys("ctrl-PP"), SyntaxError);
  });
});

describe("environment files", () => {
  let directory = "";
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "manyworlds-env-"));
  });
  after(() => rmSync(directory, { recursive: true }));

  function file(text: string): string {
    const path = join(directory, "env");
    writeFileSync(path, text);
    return path;
  }

  it("readEnvFile() keeps values as they stand, and skips comments and empty lines", () => {
    const path = file('\ufeffA=1\n# no\n\n  B=two words \nC="quoted"\nD\nE=a=b#c\r\n');
    assert.deepEqual(readEnvFile(path), ["A=1", "B=two words ", 'C="quoted"', "D", "E=a=b#c"]);
  });
  it("readEnvFile() names the line it cannot read", () => {
    assert.throws(() => readEnvFile(file("A=1\nB C=2\n")), /NAME=VALUE in line 2/);
    assert.throws(() => readEnvFile(file("=x\n")), /line 1/);
    assert.throws(() => readEnvFile(file("A=\0\n")), /without NUL/);
  });
  it("resolveEnv() takes bare names from our environment, and drops those we do not have", () => {
    assert.deepEqual(resolveEnv(["A", "B", "C=x", "D="], { A: "1" }), ["A=1", "C=x", "D="]);
  });
});
