import assert from "node:assert/strict";
import {
  familiarName,
  familiarReference,
  formatReference,
  parseReference,
  parseRepositoryReference,
  SpecError,
} from "../../oci/index.ts";
import { fuzzText } from "./fuzz.ts";

const digest = `sha256:${"ab".repeat(32)}`;

/** What is written → complete form, familiar form. */
const good = [
  ["busybox", "docker.io/library/busybox:latest", "busybox:latest"],
  ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
  [`busybox@${digest}`, `docker.io/library/busybox@${digest}`, `busybox@${digest}`],
  [`busybox:1@${digest}`, `docker.io/library/busybox:1@${digest}`, `busybox:1@${digest}`],
  ["library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
  ["index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
  ["docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
  ["docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
  ["grafana/grafana", "docker.io/grafana/grafana:latest", "grafana/grafana:latest"],
  ["a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"],
  ["library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"],
  ["ghcr.io/owner/name:v1", "ghcr.io/owner/name:v1", "ghcr.io/owner/name:v1"],
  ["localhost/app", "localhost/app:latest", "localhost/app:latest"],
  ["localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"],
  ["localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"],
  ["Server/app", "Server/app:latest", "Server/app:latest"],
  ["10.0.0.1:80/a:b", "10.0.0.1:80/a:b", "10.0.0.1:80/a:b"],
  ["[::1]:5000/a/b", "[::1]:5000/a/b:latest", "[::1]:5000/a/b:latest"],
  ["[2001:db8::1]/a", "[2001:db8::1]/a:latest", "[2001:db8::1]/a:latest"],
  ["a__b/c-_d".replace("-_", "--"), "docker.io/a__b/c--d:latest", "a__b/c--d:latest"],
  ["host.example/a.b_c", "host.example/a.b_c:latest", "host.example/a.b_c:latest"],
  ["docker.io/my.host/x", "docker.io/my.host/x:latest", "docker.io/my.host/x:latest"],
  ["xn--n3h.example/a", "xn--n3h.example/a:latest", "xn--n3h.example/a:latest"],
] as const;

const bad = [
  ["nothing", "", /expected a name/],
  ["capitals", "Busybox", /must be lower case/],
  ["capitals after a host", "ghcr.io/Owner/name", /must be lower case/],
  ["an image ID", "ab".repeat(32), /not an image ID/],
  ["an empty tag", "busybox:", /its tag is ""/],
  ["a tag of 129 characters", `busybox:${"a".repeat(129)}`, /its tag/],
  ["a tag with a plus", "busybox:1+2", /its tag/],
  ["a cut digest", "busybox@sha256:abcd", /its digest .* expected 64/],
  ["two digests", `busybox@${digest}@${digest}`, /its digest/],
  ["a URL", "https://ghcr.io/a/b", /its registry is "https:"/],
  ["an empty component", "a//b", /expected names/],
  ["a slash at the end", "a/", /expected names/],
  ["a slash at the start", "/a", /expected names/],
  ["a path that climbs", "ghcr.io/../a", /expected names/],
  ["three underscores", "a___b", /expected names/],
  ["a dash at the start", "-a", /expected names/],
  ["a host with an underscore", "my_host.example/a", /its registry/],
  ["a port that is no number", "host:port/a", /its registry/],
  ["a zone identifier", "[fe80::1%eth0]/a", /its registry/],
  ["a space", "busy box", /expected names/],
  ["a newline at the end", "busybox\n", /expected names/],
  ["a name of 256 characters", `a/${"b".repeat(254)}`, /256 characters, expected at most 255/],
  ["a reference of 1025 characters", "a".repeat(1025), /1025 characters/],
] as const;

describe("image reference", () => {
  for (const [text, complete, familiar] of good) {
    it(`"${text}" means ${complete}`, () => {
      const reference = parseReference(text);
      assert.equal(formatReference(reference), complete);
      assert.equal(familiarReference(reference), familiar);
      assert.deepEqual(parseReference(complete), reference);
    });
  }

  for (const [why, text, message] of bad) {
    it(`parseReference() refuses ${why}`, () => {
      assert.throws(
        () => parseReference(text),
        (error: unknown) => error instanceof SpecError && message.test(error.message),
      );
    });
  }

  it("parseRepositoryReference() adds no tag", () => {
    assert.deepEqual(parseRepositoryReference("busybox"), {
      domain: "docker.io",
      repository: "library/busybox",
    });
  });

  it("what parses formats to text that parses to the same (fuzz)", () => {
    const samples = [...good.map(([text]) => text), ...bad.map(([, text]) => text)];
    fuzzText(samples, (text) => {
      try {
        const reference = parseReference(text);
        assert.deepEqual(parseReference(formatReference(reference)), reference);
        assert.deepEqual(parseReference(familiarReference(reference)), reference);
        assert.ok(familiarName(reference).length > 0);
      } catch (error) {
        if (!(error instanceof SpecError)) throw error;
      }
    });
  });
});
