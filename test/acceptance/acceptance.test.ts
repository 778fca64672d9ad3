import assert from "node:assert/strict";
import { release } from "node:os";
import { useWorld, type World } from "../cli/end-to-end/world.ts";
import { formatMatrix, type Verdict } from "./matrix.ts";
import { type Expectation, rows } from "./rows.ts";
import { OpenRung, type Outcome, rungs } from "./rungs.ts";

describe("every rung keeps what `run` promises", function () {
  this.timeout(300_000);
  let world: World;
  const verdicts = new Map<string, Verdict>();
  useWorld((made) => {
    world = made;
  });
  after(() => console.log(formatMatrix(verdicts)));

  for (const rung of rungs)
    describe(rung.name, () => {
      let open: OpenRung;
      before(function () {
        open = new OpenRung(rung, world);
        const why = open.missing();
        if (why === undefined) return;
        console.log(`      skipped: ${why}`);
        this.skip();
      });
      for (const row of rows) {
        const difference = row.differs?.[rung.name];
        const name = difference === undefined ? row.what : `${row.what}: ${difference.why}`;
        it(name, async () => {
          const key = `${row.what}/${rung.name}`;
          verdicts.set(key, "broken");
          const outcome = await open.take(row);
          check(outcome, difference?.expect ?? row.expect);
          if (row.what === "volume, written") assert.equal(open.volumeText("written"), "new\n");
          verdicts.set(key, difference === undefined ? "kept" : "differs");
        });
      }
    });
});

function check(outcome: Outcome, { status = 0, stdout, stderr }: Expectation): void {
  const said = `status ${outcome.status}, stdout ${show(outcome.stdout)}, stderr ${show(outcome.stderr)}`;
  assert.equal(outcome.status, status, said);
  if (stdout !== undefined) checkText(outcome.stdout, stdout, said);
  if (stderr !== undefined) checkText(outcome.stderr, stderr, said);
}

/** "KERNEL" in a pattern stands for the host's release. */
function checkText(text: string, expected: string | RegExp, said: string): void {
  if (typeof expected === "string") {
    assert.equal(text, expected, said);
    return;
  }
  const source = expected.source.replace("KERNEL", release().replaceAll(".", "\\."));
  assert.match(text, new RegExp(source, expected.flags), said);
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 300));
}
