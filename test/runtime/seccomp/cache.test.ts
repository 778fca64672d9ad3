import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Seccomp } from "../../../oci/index.ts";
import { cachedSeccomp } from "../../../runtime/seccomp/cache.ts";
import { encodeSeccomp } from "../../../runtime/seccomp/compile.ts";
import { dockerSeccompProfile } from "../../../runtime/seccomp/default-profile.ts";

describe("runtime/seccomp/cache", () => {
  const profile: Seccomp = dockerSeccompProfile([]);
  let folder: string;
  let cache: { directory: string; compiler: string };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-seccomp-"));
    cache = { directory: join(folder, "cache"), compiler: "this one" };
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const entry = () => {
    const [name = "", ...more] = readdirSync(cache.directory);
    assert.deepEqual(more, []);
    return join(cache.directory, name);
  };
  const expected = encodeSeccomp(profile);

  it("gives what compiling gives, the first time and later", () => {
    assert.deepEqual(cachedSeccomp(profile, cache), expected);
    assert.equal(statSync(entry()).mode & 0o777, 0o600);
    assert.equal(statSync(cache.directory).mode & 0o777, 0o700);
    assert.deepEqual(cachedSeccomp(profile, cache), expected);
    const notifying: Seccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_NOTIFY" }],
    };
    assert.deepEqual(cachedSeccomp(notifying, cache), encodeSeccomp(notifying));
    assert.deepEqual(cachedSeccomp(notifying, cache), encodeSeccomp(notifying));
  });

  it("does read what it wrote: another filter in the file is what comes back", () => {
    cachedSeccomp(profile, cache);
    const lines = readFileSync(entry(), "utf8").split("\n");
    writeFileSync(entry(), [...lines.slice(0, 2), "0 0 8", "0600000000000000"].join("\n"));
    assert.equal(cachedSeccomp(profile, cache).code.length, 8);
  });

  for (const [why, spoil] of [
    ["another executable compiled it", (lines: string[]) => ["another", ...lines.slice(1)]],
    ["it is for another profile", (lines: string[]) => [lines[0] ?? "", "{}", ...lines.slice(2)]],
    ["it is cut off", (lines: string[]) => [...lines.slice(0, 3), (lines[3] ?? "").slice(0, 160)]],
    ["it is empty", () => []],
    ["its sizes make no sense", (lines: string[]) => [...lines.slice(0, 2), "x y z", ""]],
  ] as const)
    it(`compiles when ${why}`, () => {
      cachedSeccomp(profile, cache);
      const path = entry();
      const lines = readFileSync(path, "utf8").split("\n");
      writeFileSync(path, spoil([...lines]).join("\n"));
      assert.deepEqual(cachedSeccomp(profile, cache), expected);
      assert.equal(readFileSync(path, "utf8"), lines.join("\n"), "and writes it again");
    });

  it("believes neither files nor directories that others could write, nor links", () => {
    cachedSeccomp(profile, cache);
    const path = entry();
    const lines = readFileSync(path, "utf8").split("\n");
    const fake = [...lines.slice(0, 2), "0 0 8", "0600000000000000"].join("\n");
    writeFileSync(path, fake);
    chmodSync(path, 0o620);
    assert.deepEqual(cachedSeccomp(profile, cache), expected);
    writeFileSync(path, fake, { mode: 0o600 });
    chmodSync(cache.directory, 0o770);
    assert.deepEqual(cachedSeccomp(profile, cache), expected);
    chmodSync(cache.directory, 0o700);
    const linked = { ...cache, directory: join(folder, "link") };
    symlinkSync(cache.directory, linked.directory);
    assert.deepEqual(cachedSeccomp(profile, linked), expected);
  });

  it("keeps a limited number of filters", () => {
    for (let errno = 1; errno <= 80; errno++)
      cachedSeccomp({ defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: errno }, cache);
    assert.ok(readdirSync(cache.directory).length <= 64);
  });
});
