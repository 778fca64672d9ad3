import assert from "node:assert/strict";
import { parseSince, parseTail } from "../../cli/values/log-range.ts";

describe("parseTail(), parseSince()", () => {
  it("read numbers of lines", () => {
    assert.deepEqual([parseTail("all"), parseTail("0"), parseTail("12")], [undefined, 0, 12]);
    for (const bad of ["", "-1", "1k", "1.5"])
      assert.throws(() => parseTail(bad), SyntaxError, bad);
  });

  it("read dates, seconds, and how long ago", () => {
    assert.equal(parseSince("2026-01-31T12:00:00Z"), Date.UTC(2026, 0, 31, 12));
    assert.equal(parseSince("1700000000.5"), 1_700_000_000_500);
    const ago = Date.now() - parseSince("1h30m");
    assert.ok(Math.abs(ago - 5_400_000) < 1000, String(ago));
    for (const bad of ["", "yesterday", "10 m", "5x"])
      assert.throws(() => parseSince(bad), SyntaxError, bad);
  });
});
