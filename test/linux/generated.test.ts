import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { generatedFiles } from "../../scripts/generate.ts";

describe("npm run generate", () => {
  for (const [path, content] of generatedFiles())
    it(`reproduces ${path} byte for byte`, () =>
      assert.equal(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"), content));
});
