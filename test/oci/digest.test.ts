import assert from "node:assert/strict";
import {
  digestAlgorithm,
  digestHex,
  formatDigest,
  parseDigest,
  quoteText,
  SpecError,
} from "../../oci/index.ts";

const sha256 = `sha256:${"0a".repeat(32)}`;
const sha512 = `sha512:${"0a".repeat(64)}`;

describe("digest", () => {
  it("parseDigest() reads sha256 and sha512", () => {
    assert.equal(digestAlgorithm(parseDigest(sha256)), "sha256");
    assert.equal(digestAlgorithm(parseDigest(sha512)), "sha512");
    assert.equal(digestHex(parseDigest(sha512)), "0a".repeat(64));
    assert.equal(formatDigest("sha256", "0a".repeat(32)), sha256);
  });

  for (const [why, text, message] of [
    ["the empty text", "", /expected "sha256:" or "sha512:"/],
    ["one that is too short", "sha256:ab", /expected 64 lowercase/],
    ["one digit too many", `${sha256}0`, /expected 64/],
    ["sha512 with sha256's length", `sha512:${"a".repeat(64)}`, /expected 128/],
    ["upper case", sha256.toUpperCase().replace("SHA", "sha"), /lowercase/],
    ["an unknown algorithm", `md5:${"a".repeat(32)}`, /expected "sha256:"/],
    ["a path that climbs", "sha256:../../../etc/passwd", /expected 64/],
    ["a final newline", `${sha256}\n`, /expected 64/],
  ] as const) {
    it(`parseDigest() refuses ${why}`, () => {
      assert.throws(
        () => parseDigest(text),
        (error: unknown) => error instanceof SpecError && message.test(error.message),
      );
    });
  }

  it("quoteText() shows neither control characters nor text that turns the direction", () => {
    assert.equal(quoteText("a\u001b[2J\u009b\u202e"), '"a\\u001b[2J\\u009b\\u202e"');
    assert.ok(quoteText("x".repeat(1000)).length < 100);
  });
});
