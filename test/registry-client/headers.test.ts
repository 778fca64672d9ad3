import assert from "node:assert/strict";
import { ConnectionError, RegistryError } from "../../registry-client/index.ts";
import { MAX_LINK_LENGTH, nextLink } from "../../registry-client/link-header.ts";
import { defaultRetryPolicy, retryDelay } from "../../registry-client/retry.ts";
import { parseRetryAfter } from "../../registry-client/retry-after.ts";
import { fuzzText } from "../oci/fuzz.ts";

describe("Link header", () => {
  const rows = [
    ["docker-registry's", '</v2/a/tags/list?last=x&n=2>; rel="next"', "/v2/a/tags/list?last=x&n=2"],
    ["an unquoted rel", "</v2/x>; rel=next", "/v2/x"],
    ["a whole URL", '<https://r.example/v2/x?n=1>; rel="next"', "https://r.example/v2/x?n=1"],
    ["one among several", '</a>; rel="prev", </b>; rel="next"; title="x, y"', "/b"],
    ["several relations", '</a>; rel="last next"', "/a"],
    ["other parameters before", '</a>; title="a;b"; rel=next', "/a"],
    ["capitals", '</a>; REL="NEXT"', "/a"],
    ["no next", '</a>; rel="prev"', undefined],
    ["no rel", "</a>", undefined],
    ["an open bracket", '</a; rel="next"', undefined],
    ["a title that says rel", '</a>; title="; rel=next"', undefined],
    ["nothing", undefined, undefined],
    ["too much", `<${"a".repeat(MAX_LINK_LENGTH)}>; rel=next`, undefined],
  ] as const;
  for (const [what, header, expected] of rows) {
    it(`nextLink() reads ${what}`, () => assert.equal(nextLink(header), expected));
  }

  it("nextLink() returns a target or nothing, whatever it reads (fuzz)", () => {
    fuzzText(
      rows.map(([, header]) => header ?? ""),
      (text) => {
        const next = nextLink(text);
        assert.ok(next === undefined || !/[<>]/.test(next));
      },
    );
  });

  for (const [what, header] of [
    ["spaces", `<a>;b${" ".repeat(16_000)}`],
    ["open brackets", "<".repeat(16_000)],
    ["parameters", `<a>${";b".repeat(8_000)}`],
    ["quotes", `<a>;b="${'\\"'.repeat(8_000)}`],
    ["half parameters", `<a>;rel=${'"x" ;'.repeat(3_000)}`],
  ] as const) {
    it(`nextLink() takes linear time for many ${what}`, () => {
      const startMs = performance.now();
      nextLink(header);
      assert.ok(performance.now() - startMs < 2000);
    });
  }
});

describe("Retry-After", () => {
  const now = Date.UTC(2026, 10, 22, 12, 0, 0);
  for (const [what, header, expected] of [
    ["seconds", "7", 7000],
    ["zero", "0", 0],
    ["an HTTP date", "Sun, 22 Nov 2026 12:00:30 GMT", 30_000],
    ["a date that has passed", "Sun, 22 Nov 2026 11:00:00 GMT", 0],
    ["a date of RFC 850", "Sunday, 22-Nov-26 12:00:05 GMT", 5000],
    ["a fraction", "1.5", undefined],
    ["a negative number", "-1", undefined],
    ["a word", "soon", undefined],
    ["nothing", undefined, undefined],
  ] as const) {
    it(`parseRetryAfter() reads ${what}`, () =>
      assert.equal(parseRetryAfter(header, now), expected));
  }
});

describe("retry", () => {
  const answered = (
    status: number,
    problem: RegistryError["failure"]["problem"],
    retryAfterMs?: number,
  ) =>
    new RegistryError({
      action: "test",
      host: "h",
      status,
      problem,
      errors: [],
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  const policy = { ...defaultRetryPolicy, baseDelayMs: 100, maxDelayMs: 1000 };
  for (const [what, error, attempt, random, expected] of [
    ["doubles", answered(503, "unavailable"), 3, 1, 400],
    ["is half at least, by jitter", answered(503, "unavailable"), 3, 0, 200],
    ["has a ceiling", answered(503, "unavailable"), 10, 1, 1000],
    ["follows Retry-After", answered(429, "rate-limited", 3000), 1, 1, 3000],
    [
      "gives up on a Retry-After of an hour",
      answered(429, "rate-limited", 3_600_000),
      1,
      1,
      undefined,
    ],
    ["follows a broken connection", new ConnectionError("h", "broken"), 1, 1, 100],
    ["follows a silence", new ConnectionError("h", "timeout"), 1, 1, 100],
    ["is not for a refused connection", new ConnectionError("h", "refused"), 1, 1, undefined],
    ["is not for a certificate", new ConnectionError("h", "tls"), 1, 1, undefined],
    ["is not for 404", answered(404, "not-found"), 1, 1, undefined],
    ["is not for other errors", new TypeError("x"), 1, 1, undefined],
  ] as const) {
    it(`retryDelay() ${what}`, () =>
      assert.equal(
        retryDelay(error, attempt, policy, () => random),
        expected,
      ));
  }
});
