import assert from "node:assert/strict";
import { SpecError } from "../../oci/index.ts";
import { MAX_CHALLENGE_LENGTH, parseChallenges } from "../../registry-client/auth/challenge.ts";
import { fuzzText } from "../oci/fuzz.ts";

const show = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

/** Far beyond what a linear parser needs, even on a busy machine. */
const SOON_MS = 2000;

const hub =
  'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull"';

const good = [
  [
    "Docker Hub's",
    hub,
    [
      [
        "bearer",
        {
          realm: "https://auth.docker.io/token",
          service: "registry.docker.io",
          scope: "repository:library/busybox:pull",
        },
      ],
    ],
  ],
  [
    "one with spaces around",
    ' Bearer  realm = "a" ,  service=b ',
    [["bearer", { realm: "a", service: "b" }]],
  ],
  [
    "commas and quotes inside a value",
    'Bearer realm="a,b\\"c\\\\",scope="x:pull,push"',
    [["bearer", { realm: 'a,b"c\\', scope: "x:pull,push" }]],
  ],
  [
    "several challenges",
    'Basic realm="x", Bearer realm="y",service="z"',
    [
      ["basic", { realm: "x" }],
      ["bearer", { realm: "y", service: "z" }],
    ],
  ],
  ["a scheme alone", "Negotiate", [["negotiate", {}]]],
  [
    "schemes alone in a list",
    "Negotiate, NTLM, Basic realm=x",
    [
      ["negotiate", {}],
      ["ntlm", {}],
      ["basic", { realm: "x" }],
    ],
  ],
  [
    "token68 data",
    "Negotiate YIIB/+==, Basic realm=x",
    [
      ["negotiate", {}],
      ["basic", { realm: "x" }],
    ],
  ],
  [
    "an unquoted URL",
    "Bearer realm=https://a/token,service=b",
    [["bearer", { realm: "https://a/token", service: "b" }]],
  ],
  ["names in capitals", 'BEARER Realm="a"', [["bearer", { realm: "a" }]]],
  [
    "a parameter twice: the first counts",
    'Bearer realm="a",realm="b"',
    [["bearer", { realm: "a" }]],
  ],
  ["empty list members", ',, Basic realm="x",,', [["basic", { realm: "x" }]]],
  ["an empty value", 'Bearer realm=""', [["bearer", { realm: "" }]]],
  ["nothing", "", []],
] as const;

describe("WWW-Authenticate", () => {
  for (const [what, header, expected] of good) {
    it(`parseChallenges() reads ${what}`, () => assert.deepEqual(show(header), expected));
  }

  for (const [why, header] of [
    ["a quote that is not closed", 'Bearer realm="a'],
    ["a value without name", 'Bearer ="a"'],
    ["a quoted scheme", '"Bearer" realm="a"'],
    ["17 challenges", Array(17).fill("Basic realm=x").join(", ")],
    ["33 parameters", `Bearer ${Array.from({ length: 33 }, (_, i) => `p${i}=1`).join(",")}`],
    ["too long a header", "a".repeat(MAX_CHALLENGE_LENGTH + 1)],
  ] as const) {
    it(`parseChallenges() refuses ${why}`, () =>
      assert.throws(() => parseChallenges(header), SpecError));
  }

  it("parseChallenges() returns or throws a SpecError, and soon, whatever it reads (fuzz)", () => {
    fuzzText(
      [...good.map(([, header]) => header), `Bearer ${" ".repeat(8000)}`, `a=${"=".repeat(8000)}`],
      (text) => {
        const startMs = performance.now();
        try {
          for (const { scheme, parameters } of parseChallenges(text)) {
            assert.match(scheme, /^[^\s",=]+$/);
            assert.ok(parameters.size <= 32);
          }
        } catch (error) {
          if (!(error instanceof SpecError)) throw error;
        }
        assert.ok(performance.now() - startMs < SOON_MS);
      },
    );
  });
});
