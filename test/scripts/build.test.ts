import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const project = fileURLToPath(new URL("../..", import.meta.url));

interface PackedFile {
  readonly path: string;
}

describe("npm run build", () => {
  before("builds", function () {
    this.timeout(180_000);
    const build = ["--import", "tsx", "scripts/build.ts"];
    const { status, stderr } = spawnSync(process.execPath, build, {
      cwd: project,
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
  });

  it("makes an executable that says its version", () => {
    const { version } = JSON.parse(readFileSync(`${project}package.json`, "utf8"));
    const said = execFileSync(`${project}dist/manyworlds`, ["version"], { encoding: "utf8" });
    assert.ok(said.includes(version), said);
  });

  it("makes manyworlds-oci a small file that speaks runc's command line", () => {
    assert.ok(statSync(`${project}dist/manyworlds-oci`).size < 128 * 1024);
    const said = execFileSync(`${project}dist/manyworlds-oci`, ["--version"], { encoding: "utf8" });
    const machines = `${project}dist/manyworlds-vm`;
    assert.equal(execFileSync(machines, ["--version"], { encoding: "utf8" }), said);
    assert.match(said, /^spec: 1\./m);
  });

  it("makes an executable that no file of the current folder configures", () => {
    const { status, stdout } = spawnSync(`${project}dist/manyworlds`, ["version"], {
      cwd: fileURLToPath(new URL("hostile-folder", import.meta.url)),
      encoding: "utf8",
    });
    assert.equal(status, 0);
    assert.doesNotMatch(stdout, /hijacked/);
  });

  it("makes a library that Node imports by the package's name, with types", async () => {
    const script = 'import("manyworlds").then((m) => console.log(typeof m.run))';
    const said = execFileSync(process.execPath, ["-e", script], { cwd: project, encoding: "utf8" });
    assert.equal(said, "function\n");
    const types = readFileSync(`${project}dist/types/index.d.ts`, "utf8");
    assert.match(types, /run/);
    assert.doesNotMatch(types, /\.ts"/);
  });

  it("packs the executable, the library and its types, and no source", () => {
    const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
    const { stdout } = spawnSync("npm", args, { cwd: project, encoding: "utf8" });
    const packed = JSON.parse(stdout) as unknown;
    // npm 11 gives a list of packages, npm 12 an object by name.
    const [first] = Object.values(packed as Record<string, { files: readonly PackedFile[] }>);
    const paths = first?.files.map((file) => file.path) ?? [];
    for (const path of [
      "dist/manyworlds",
      "dist/manyworlds-oci",
      "dist/lib/index.js",
      "dist/types/index.d.ts",
    ]) {
      assert.ok(paths.includes(path), `${path} is not in the package`);
    }
    assert.deepEqual(
      paths.filter((path) => /^(test|bench|scripts|engine|linux)\//.test(path)),
      [],
    );
  });
});
