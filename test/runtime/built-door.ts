/** The door in front of the real executable, compiled plainly for the occasion, with a bundle to run. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RuntimeConfig } from "../../oci/index.ts";
import { doorExecutable } from "../../runtime/door/door.ts";
import { imageDirectory, imageName } from "../../runtime/frozen/layout.ts";
import { bunExecutable } from "../../scripts/bun.ts";
import { Sandbox } from "./sandbox.ts";

const project = fileURLToPath(new URL("../..", import.meta.url));

export class BuiltDoor extends Sandbox {
  readonly door = join(this.directory, "manyworlds-oci");
  readonly executable = join(this.directory, "manyworlds");

  constructor() {
    super();
    writeFileSync(this.door, doorExecutable(), { mode: 0o755 });
    const flags = ["--compile", "--target=bun", "--external=koffi", "--external=undici"];
    const args = ["build", ...flags, "cli/main.ts", "--outfile", this.executable];
    const { status, stderr } = spawnSync(bunExecutable(), args, { cwd: project, encoding: "utf8" });
    assert.equal(status, 0, stderr);
  }

  /** Of the executable, frozen. */
  get imagePath(): string {
    const { ino } = statSync(this.executable, { bigint: true });
    return join(imageDirectory, imageName(ino));
  }

  /** The next file may have the same number. */
  override [Symbol.dispose](): void {
    rmSync(this.imagePath, { force: true, recursive: true });
    super[Symbol.dispose]();
  }

  /** Writes config.json: `sh -c SCRIPT`, with what is edited. */
  configure(script: string, edit: (config: RuntimeConfig) => RuntimeConfig = (config) => config) {
    writeFileSync(join(this.bundle, "config.json"), JSON.stringify(edit(this.config(script))));
  }

  /** Words of `run` for this bundle. */
  words(id = this.id, more: readonly string[] = []): readonly string[] {
    return ["--root", this.stateRoot, "run", "--bundle", this.bundle, ...more, id];
  }
}
