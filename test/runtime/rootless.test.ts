import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RuntimeConfig } from "../../oci/index.ts";
import { cannotRunContainers, Sandbox } from "./sandbox.ts";

const nobody = 65534;
const main = fileURLToPath(new URL("../../runtime/main-for-bench.ts", import.meta.url));

describe("an ordinary user", function () {
  this.timeout(60_000);
  let reason = cannotRunContainers();
  before(function () {
    const probe = spawnSync(process.execPath, ["--import", "tsx", main, "--version"], asNobody());
    if (reason === undefined && probe.status !== 0)
      reason = `nobody cannot run us: ${probe.stderr}`;
    if (reason === undefined) return;
    console.log(`      skipped: ${reason}`);
    this.skip();
  });

  function asNobody(cwd = fileURLToPath(new URL("../..", import.meta.url))) {
    const env = { PATH: "/usr/bin:/bin", HOME: "/nonexistent", TSX_DISABLE_CACHE: "1" };
    return { uid: nobody, gid: nobody, cwd, env, encoding: "utf8" } as const;
  }

  it("creates, starts, enters and deletes a container without any privilege", () => {
    using sandbox = new Sandbox();
    chmodSync(sandbox.directory, 0o755);
    chownSync(sandbox.bundle, nobody, nobody);
    mkdirSync(sandbox.stateRoot);
    chownSync(sandbox.stateRoot, nobody, nobody);
    const oci = (...args: readonly string[]) =>
      spawnSync(
        process.execPath,
        ["--import", "tsx", main, "--root", sandbox.stateRoot, ...args],
        // The container keeps these open while it lives: never pipes that we wait for.
        { ...asNobody(), stdio: ["ignore", "ignore", "pipe"] },
      );
    const { bundle, id } = sandbox;
    assert.equal(oci("spec", "--rootless", "--bundle", bundle).status, 0);
    const file = join(bundle, "config.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as RuntimeConfig; // SAFE: just written
    const script = "id -u > /tmp/user; cat /proc/self/uid_map > /tmp/map; exec sleep 100";
    chmodSync(join(sandbox.rootfs, "tmp"), 0o777);
    const process_ = { ...config.process, terminal: false, args: ["/bin/sh", "-c", script] };
    const root = { path: "rootfs" };
    writeFileSync(file, JSON.stringify({ ...config, root, process: process_ }));

    const run = spawnSync(
      process.execPath,
      ["--import", "tsx", main, "--root", sandbox.stateRoot, "run", "-d", "-b", bundle, id],
      { ...asNobody(), stdio: "ignore" },
    );
    assert.equal(run.status, 0);
    const exec = oci("exec", id, "/bin/sh", "-c", "test $(id -u) = 0 && exit 4");
    assert.equal(exec.status, 4, exec.stderr);
    const removed = oci("delete", "--force", id);
    assert.equal(removed.status, 0, removed.stderr);
    assert.equal(readFileSync(join(sandbox.rootfs, "tmp/user"), "utf8"), "0\n");
    assert.match(readFileSync(join(sandbox.rootfs, "tmp/map"), "utf8"), /^\s+0\s+65534\s+1\n$/);
  });
});
