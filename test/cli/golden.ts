/** Golden files: BLESS=1 (npm run bless) rewrites them, and the diff is reviewed. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

export function assertGolden(name: string, text: string): void {
  const path = new URL(`golden/${name}`, import.meta.url);
  if (process.env["BLESS"] === "1") {
    mkdirSync(new URL("golden/", import.meta.url), { recursive: true });
    writeFileSync(path, text);
  }
  assert.equal(text, readFileSync(path, "utf8"), `${name} differs; BLESS=1 accepts it`);
}
