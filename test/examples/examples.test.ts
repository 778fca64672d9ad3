import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { busyboxImage } from "../../bench/peers/images.ts";
import { pushLayout } from "../../bench/peers/oci-layout.ts";
import { bunExecutable } from "../../scripts/bun.ts";
import { type LoopbackRegistry, startRegistry } from "../../scripts/registry.ts";

const project = fileURLToPath(new URL("../..", import.meta.url));
const needed = ["/usr/bin/docker-registry", "/usr/bin/skopeo", "/bin/busybox"];

const engines = [
  ["Node", process.execPath, ["--import", "tsx"]],
  ["Bun", bunExecutable(), []],
] as const;

describe("examples", () => {
  let registry: LoopbackRegistry;
  let image: string;
  let root: string;

  before("needs root, docker-registry, skopeo and busybox-static", async function () {
    const missing = needed.filter((file) => !existsSync(file));
    if (process.getuid?.() !== 0 || missing.length > 0) this.skip();
    registry = await startRegistry();
    image = `${registry.host}/busybox:latest`;
    pushLayout(busyboxImage().layout, image);
    root = mkdtempSync(join(tmpdir(), "manyworlds-examples-"));
  });

  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    if (root !== undefined) rmSync(root, { recursive: true });
  });

  function runExample(command: string, args: readonly string[]) {
    return spawnSync(command, args, {
      cwd: project,
      env: { ...process.env, MANYWORLDS_ROOT: root },
      encoding: "utf8",
      timeout: 45_000,
    });
  }

  for (const [name, command, flags] of engines) {
    it(`run-command.ts pulls, runs and ends with the command's status on ${name}`, () => {
      const script = "uname -s; exit 3";
      const args = [...flags, "examples/run-command.ts", image, "sh", "-c", script];
      const { status, stdout, stderr } = runExample(command, args);
      assert.equal(status, 3, stderr);
      assert.equal(stdout, "Linux\n");
    });

    it(`many-at-once.ts runs several containers at the same time on ${name}`, () => {
      const { status, stderr } = runExample(command, [...flags, "examples/many-at-once.ts", image]);
      assert.equal(status, 0, stderr);
    });
  }
});
