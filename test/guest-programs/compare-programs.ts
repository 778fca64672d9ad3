/** The tests of both sets: each program's output on the host and in one guest that runs them all. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { ProgramGuest, runOnHost, whyNoGuest } from "./guest.ts";
import type { Program } from "./programs.ts";

export function describePrograms(
  title: string,
  programs: readonly Program[],
  memorySizeBytes: number,
): void {
  describe(title, function () {
    this.timeout(900_000);
    let guest: ProgramGuest | undefined;

    before(async function () {
      const reason = whyNoGuest();
      if (reason !== undefined) {
        console.log(`      skipped: ${reason}`);
        this.skip();
      }
      guest = await ProgramGuest.boot(memorySizeBytes);
    });
    after(async () => guest?.[Symbol.asyncDispose]());

    for (const program of programs)
      it(`${program.name} prints what it prints on the host`, async function () {
        const missing = program.needs.filter((file) => !existsSync(file));
        if (missing.length > 0) {
          console.log(`      skipped: the host has no ${missing.join(" and no ")}`);
          this.skip();
        }
        const expected = runOnHost(program);
        assert.equal(expected.status, 0, `on the host: ${expected.stderr}`);
        const found = await guest?.run(program);
        assert.equal(found?.stdout, expected.stdout, found?.stderr);
        assert.equal(found?.status, 0, found?.stderr);
      });
  });
}
