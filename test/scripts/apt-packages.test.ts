import assert from "node:assert/strict";
import { aptPackages, missingPackages } from "../../scripts/apt-packages.ts";

describe("scripts/apt-packages", () => {
  it("missingPackages() names nothing when every file is there", () =>
    assert.deepEqual(
      missingPackages("bench", () => true),
      [],
    ));
  it("missingPackages() names only what this need needs", () => {
    const names = missingPackages("quickstart", () => false).map((row) => row.name);
    assert.deepEqual(names, ["busybox-static", "docker-registry"]);
  });
  it("every package is listed once and says why", () => {
    const names = new Set(aptPackages.map((row) => row.name));
    assert.equal(names.size, aptPackages.length);
    for (const row of aptPackages) assert.ok(row.why.length > 0 && row.file.startsWith("/"));
  });
});
