/**
 * The software CPU's promise: registry → content store → block device → machine → output, without
 * root and without native code, on Node and on Bun.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { World } from "../../cli/end-to-end/world.ts";
import { guestKernel } from "./guest-kernel.ts";
import { useMachineWorld } from "./machine-world.ts";

const project = fileURLToPath(new URL("../../..", import.meta.url));
const program = join(project, "test/engine/vm/without-native.program.ts");
const forbid = join(project, "test/engine/vm/forbid-native.mjs");
const NOBODY = 65534;

describe("run in a machine, unprivileged, with native code forbidden", function () {
  this.timeout(180_000);
  const suite = useMachineWorld();
  let world: World;

  before(() => {
    world = suite.get();
    chmodSync(world.directory, 0o755);
  });

  for (const [name, command] of [
    ["Node", [process.execPath, "--import", "tsx", "--import", forbid]],
    ["Bun", [join(project, "node_modules/.bin/bun"), "--preload", forbid]],
  ] as const)
    it(`works on ${name}`, function () {
      if (name === "Node" && "Bun" in globalThis) this.skip(); // process.execPath is Bun there
      const root = world.path(`root-${name}`);
      mkdirSync(root);
      chownSync(root, NOBODY, NOBODY);
      const drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"];
      const args = [...drop, ...command, program, world.image, root];
      const env = { PATH: process.env["PATH"] ?? "", HOME: root };
      const run = () =>
        spawnSync("setpriv", args, {
          cwd: project,
          encoding: "utf8",
          timeout: 150_000,
          env: { ...env, MANYWORLDS_KERNEL: guestKernel(), MANYWORLDS_DEBUG: "1" },
        });
      // One that boots and is saved, and one that is restored.
      for (const { stdout, stderr, status } of [run(), run()]) {
        assert.equal(status, 0, stderr);
        assert.equal(stderr, "");
        assert.deepEqual(JSON.parse(stdout), {
          stdout: "from the host\nweb\n",
          stderr: "problem\n",
          status: 5,
        });
      }
      assert.equal(readdirSync(join(root, "vm-snapshots")).length, 1);
      assert.deepEqual(
        readdirSync(join(root, "layers")).filter((file) => file !== "boot"),
        [],
      );
      assert.deepEqual(readdirSync(join(root, "containers")), []);
      assert.ok(existsSync(join(root, "erofs")));
    });
});
