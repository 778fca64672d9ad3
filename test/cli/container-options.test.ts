import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toContainerOptions } from "../../cli/container-options.ts";
import { parseArguments } from "../../cli/parse.ts";
import { run } from "../../cli/table/run.ts";
import type { ContainerOptions } from "../../engine/index.ts";

function options(line: string, env: Record<string, string> = {}): ContainerOptions {
  const parsed = parseArguments(run, line.split(" "));
  assert.ok(!("help" in parsed));
  return toContainerOptions(parsed.values, parsed.args.slice(1), env);
}

describe("toContainerOptions()", () => {
  // biome-ignore format: table
  const rows: readonly (readonly [string, ContainerOptions])[] = [
    ["busybox", {}],
    ["busybox ls -l", { command: ["ls", "-l"] }],
    ["--entrypoint= busybox", { entrypoint: [] }],
    ["--entrypoint /bin/sh busybox -c x", { entrypoint: ["/bin/sh"], command: ["-c", "x"] }],
    ["-it --init --read-only busybox", { tty: true, interactive: true, init: true, readOnly: true }],
    ["-e A -e B=1 -e C busybox", { env: ["A=mine", "B=1"] }],
    ["--security-opt seccomp=unconfined --security-opt no-new-privileges b", { security: { seccomp: "unconfined", noNewPrivileges: true } }],
    ["--sysctl a.b=1 --label x=1 --label y b", { sysctls: { "a.b": "1" }, labels: { x: "1", y: "" } }],
    ["-m 64m --cpus 2 --pids-limit 5 --shm-size 1m b", { memoryBytes: 67108864, cpus: 2, pidsLimit: 5, shmSizeBytes: 1048576 }],
    ["--network host --dns 1.1.1.1 b", { network: "host", dns: ["1.1.1.1"] }],
  ];
  for (const [line, expected] of rows) {
    it(`reads "run ${line}"`, () => assert.deepEqual(options(line, { A: "mine" }), expected));
  }
  it("lets -e win over --env-file, and --label over --label-file", () => {
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-flags-"));
    const file = join(directory, "file");
    writeFileSync(file, "A=file\nB=file\n");
    const made = options(`-e A=flag --env-file ${file} --label A=flag --label-file ${file} b`);
    assert.deepEqual(made.env, ["A=file", "B=file", "A=flag"]);
    assert.deepEqual(made.labels, { A: "flag", B: "file" });
    rmSync(directory, { recursive: true });
  });
  it("says what to do without a bridge", () => {
    assert.throws(() => options("--network bridge b"), /"bridge" is not supported yet/);
  });
});
