import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SpecError } from "../../oci/index.ts";
import { endpointCandidates, parseMirror } from "../../registry-client/endpoint.ts";
import { isLoopback } from "../../registry-client/http/loopback.ts";
import { compileProxies, ProxyError, proxySettings } from "../../registry-client/http/proxies.ts";
import { readDaemonSettings } from "../../registry-client/index.ts";

describe("registry address", () => {
  const insecure = ["insecure.example:5000", "10.0.0.1", "10.1.0.0/16", "fd00::/8"];
  for (const [domain, bases, server] of [
    ["docker.io", ["https://registry-1.docker.io/v2/"], "https://index.docker.io/v1/"],
    ["ghcr.io", ["https://ghcr.io/v2/"], "ghcr.io"],
    ["r.example:8443", ["https://r.example:8443/v2/"], "r.example:8443"],
    [
      "localhost:5000",
      ["http://localhost:5000/v2/", "https://localhost:5000/v2/"],
      "localhost:5000",
    ],
    ["127.0.0.2:80", ["http://127.0.0.2/v2/", "https://127.0.0.2:80/v2/"], "127.0.0.2:80"],
    ["[::1]:5000", ["http://[::1]:5000/v2/", "https://[::1]:5000/v2/"], "[::1]:5000"],
    [
      "insecure.example:5000",
      ["https://insecure.example:5000/v2/", "http://insecure.example:5000/v2/"],
      "insecure.example:5000",
    ],
    ["10.1.2.3", ["https://10.1.2.3/v2/", "http://10.1.2.3/v2/"], "10.1.2.3"],
    ["10.2.2.3", ["https://10.2.2.3/v2/"], "10.2.2.3"],
    [
      "[fd00::1]:5000",
      ["https://[fd00::1]:5000/v2/", "http://[fd00::1]:5000/v2/"],
      "[fd00::1]:5000",
    ],
    ["insecure.example", ["https://insecure.example/v2/"], "insecure.example"],
    ["10.0.0.1:5000", ["https://10.0.0.1:5000/v2/", "http://10.0.0.1:5000/v2/"], "10.0.0.1:5000"],
  ] as const) {
    it(`${domain} is looked for at ${bases.join(", ")}`, () => {
      const candidates = endpointCandidates(domain, { insecure });
      assert.deepEqual(
        candidates.map(({ base }) => base.href),
        bases,
      );
      assert.ok(candidates.every((each) => each.server === server));
    });
  }

  for (const [text, base, prefix] of [
    ["https://mirror.gcr.io", "https://mirror.gcr.io/v2/", ""],
    ["mirror.gcr.io", "https://mirror.gcr.io/v2/", ""],
    ["https://harbor.example/hub/", "https://harbor.example/v2/", "hub/"],
    ["https://harbor.example/v2/hub", "https://harbor.example/v2/", "hub/"],
    ["http://localhost:5000", "http://localhost:5000/v2/", ""],
    ["https://v2x.example/v2x", "https://v2x.example/v2/", "v2x/"],
  ] as const) {
    it(`mirror ${text} has the base ${base} and the prefix "${prefix}"`, () => {
      const mirror = parseMirror(text, { insecure });
      assert.equal(mirror.candidates[0]?.base.href, base);
      assert.equal(mirror.prefix, prefix);
    });
  }

  for (const [why, text] of [
    ["plain HTTP to a host that is not loopback", "http://mirror.example"],
    ["another scheme", "ftp://mirror.example"],
    ["a user and password", "https://user:password@mirror.example"],
    ["a query", "https://mirror.example/?x=1"],
    ["nothing", ""],
  ] as const) {
    it(`parseMirror() refuses ${why}`, () =>
      assert.throws(() => parseMirror(text, { insecure }), SpecError));
  }

  for (const [host, expected] of [
    ["localhost", true],
    ["a.localhost", true],
    ["127.0.0.1", true],
    ["127.9.9.9", true],
    ["[::1]", true],
    ["localhost.example", false],
    ["128.0.0.1", false],
    ["127.0.0.1.example", false],
    ["[::2]", false],
  ] as const) {
    it(`isLoopback("${host}") is ${expected}`, () => assert.equal(isLoopback(host), expected));
  }
});

describe("docker's daemon.json", () => {
  const read = async (text: string | undefined) => {
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-daemon-"));
    try {
      const path = join(directory, "daemon.json");
      if (text !== undefined) writeFileSync(path, text);
      return await readDaemonSettings(path);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };

  it("gives mirrors for Docker Hub and insecure registries", async () => {
    const text = '{"registry-mirrors":["https://m"],"insecure-registries":["r:5000"],"debug":true}';
    assert.deepEqual(await read(text), {
      mirrors: { "docker.io": ["https://m"] },
      insecure: ["r:5000"],
    });
  });

  it("may be missing or empty of both", async () => {
    assert.deepEqual(await read(undefined), { mirrors: {}, insecure: [] });
    assert.deepEqual(await read("{}"), { mirrors: {}, insecure: [] });
  });

  it("is refused where it makes no sense", async () => {
    await assert.rejects(
      read('{"registry-mirrors":"https://m"}'),
      /"registry-mirrors"|registry-mirrors/,
    );
  });
});

describe("proxies", () => {
  const none =
    "direct.example, .sub.example,*.star.example,10.0.0.0/8,192.168.1.5,port.example:8443,fd00::/8, [fd01::1]:443";
  const proxyFor = compileProxies({
    http: "plain:3128",
    https: "https://user:pass@secure:443",
    none,
  });
  for (const [url, expected] of [
    ["http://r.example/", "http://plain:3128/"],
    ["https://r.example/", "https://user:pass@secure/"],
    ["http://localhost:5000/", undefined],
    ["https://127.0.0.1/", undefined],
    ["https://direct.example/", undefined],
    ["https://a.direct.example/", undefined],
    ["https://notdirect.example/", "https://user:pass@secure/"],
    ["https://sub.example/", "https://user:pass@secure/"],
    ["https://a.sub.example/", undefined],
    ["https://a.star.example/", undefined],
    ["https://10.20.30.40/", undefined],
    ["https://11.0.0.1/", "https://user:pass@secure/"],
    ["https://192.168.1.5:8443/", undefined],
    ["https://port.example:8443/", undefined],
    ["https://port.example/", "https://user:pass@secure/"],
    ["https://[fd12::1]/", undefined],
    ["https://[fe80::1]/", "https://user:pass@secure/"],
  ] as const) {
    it(`${url} goes ${expected === undefined ? "directly" : `through ${expected}`}`, () =>
      assert.equal(proxyFor(new URL(url))?.href, expected));
  }

  it("NO_PROXY=* means no proxy at all", () => {
    const never = compileProxies({ https: "http://p:1", none: "a.example, *" });
    assert.equal(never(new URL("https://r.example/")), undefined);
  });

  it("proxySettings() reads both spellings, and not HTTP_PROXY under CGI", () => {
    assert.deepEqual(proxySettings({ HTTP_PROXY: "a", https_proxy: "b", no_proxy: "c" }), {
      http: "a",
      https: "b",
      none: "c",
    });
    assert.deepEqual(proxySettings({ HTTP_PROXY: "evil", REQUEST_METHOD: "GET" }), {});
    assert.deepEqual(proxySettings({ HTTPS_PROXY: "" }), {});
  });

  for (const [why, address] of [
    ["a scheme we do not speak", "socks5://p:1080"],
    ["no host", "http://"],
  ] as const) {
    it(`a proxy with ${why} is refused, its password not shown`, () =>
      assert.throws(() => compileProxies({ https: address }), ProxyError));
  }
});
