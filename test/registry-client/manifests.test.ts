import assert from "node:assert/strict";
import {
  formatReference,
  mediaTypes,
  parsePlatform,
  parseReference,
  SpecError,
  UnsupportedManifestError,
} from "../../oci/index.ts";
import {
  BodyTooLargeError,
  ContentError,
  PlatformError,
  RegistryError,
} from "../../registry-client/index.ts";
import { collect, eventsOf, eventually, openTestClient, signal } from "./client.ts";
import {
  blobOf,
  imageAnswer,
  imageOf,
  indexOf,
  manifestAnswer,
  notFound,
  sha256,
  type TestBlob,
} from "./images.ts";
import { type Handler, startServer } from "./server.ts";

const amd64 = imageOf("amd64");
const arm64 = imageOf("arm64", { os: "linux", architecture: "arm64" });
const platform = (text: string) => parsePlatform(text, { os: "linux", architecture: "amd64" });
const index = indexOf([
  { manifest: amd64.manifest, platform: { os: "linux", architecture: "amd64" } },
  { manifest: arm64.manifest, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
  {
    manifest: imageOf("attestation").manifest,
    platform: { os: "unknown", architecture: "unknown" },
  },
]);

/** Serves manifests by digest, and `tag` under 1. */
function serving(tag: TestBlob, others: readonly TestBlob[] = []): Handler {
  return ({ path }) => {
    if (path === "/v2/") return {};
    const found = [tag, ...others].find(({ descriptor }) => path.endsWith(descriptor.digest));
    if (path.endsWith("/manifests/1")) return manifestAnswer(tag);
    return found === undefined ? notFound : manifestAnswer(found);
  };
}

async function resolved(handler: Handler, suffix = ":1", wanted = "linux/amd64") {
  await using server = await startServer(handler);
  await using test = openTestClient();
  const reference = parseReference(`${server.domain}/a/b${suffix}`);
  const image = await test.client.resolve(reference, { platform: platform(wanted), signal });
  return { image, requests: server.requests };
}

describe("resolve()", () => {
  it("finds an image by tag", async () => {
    const { image, requests } = await resolved((request) => imageAnswer(request, amd64));
    assert.equal(image.descriptor.digest, amd64.manifest.descriptor.digest);
    assert.equal(image.manifest.layers.length, 1);
    assert.equal(image.index, undefined);
    assert.ok(requests.at(-1)?.headers.accept?.includes(mediaTypes.ociIndex));
  });

  it("finds an image by digest, whatever the tag beside it is", async () => {
    const { digest } = amd64.manifest.descriptor;
    const { image, requests } = await resolved(
      (request) => imageAnswer(request, amd64),
      `:other@${digest}`,
    );
    assert.equal(image.descriptor.digest, digest);
    assert.equal(requests.at(-1)?.path, `/v2/a/b/manifests/${digest}`);
  });

  for (const [wanted, chosen] of [
    ["linux/amd64", amd64],
    ["linux/arm64", arm64],
    ["linux/amd64/v3", amd64],
  ] as const) {
    it(`chooses from an index for ${wanted}`, async () => {
      const { image } = await resolved(
        serving(index, [amd64.manifest, arm64.manifest]),
        ":1",
        wanted,
      );
      assert.equal(image.descriptor.digest, chosen.manifest.descriptor.digest);
      assert.equal(image.index?.descriptor.digest, index.descriptor.digest);
      assert.equal(sha256(image.index?.bytes ?? ""), index.descriptor.digest);
    });
  }

  it("names what there is when nothing suits the platform", async () => {
    await assert.rejects(resolved(serving(index), ":1", "linux/s390x"), (error: unknown) => {
      assert.ok(error instanceof PlatformError);
      assert.match(
        error.message,
        /for "linux\/s390x" in .*: there is "linux\/amd64", "linux\/arm64\/v8"$/,
      );
      return true;
    });
  });

  it("follows an index within an index, but not forever", async () => {
    const outer = indexOf([{ manifest: index, platform: { os: "linux", architecture: "amd64" } }]);
    const { image } = await resolved(serving(outer, [index, amd64.manifest]));
    assert.equal(image.descriptor.digest, amd64.manifest.descriptor.digest);
    let deep = index;
    const all = [index];
    for (let depth = 0; depth < 10; depth++) {
      deep = indexOf([{ manifest: deep, platform: { os: "linux", architecture: "amd64" } }]);
      all.push(deep);
    }
    await assert.rejects(resolved(serving(deep, all)), PlatformError);
  });

  const docker = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: { ...amd64.config.descriptor, mediaType: mediaTypes.dockerConfig },
      layers: amd64.layers.map(({ descriptor }) => ({
        ...descriptor,
        mediaType: mediaTypes.dockerLayerGzip,
      })),
    }),
    mediaTypes.dockerManifest,
  );
  it("reads Docker's schema 2 and its manifest list", async () => {
    const list = indexOf(
      [{ manifest: docker, platform: { os: "linux", architecture: "amd64" } }],
      mediaTypes.dockerManifestList,
    );
    const { image } = await resolved(serving(list, [docker]));
    assert.equal(image.manifest.mediaType, mediaTypes.dockerManifest);
  });

  const lie = imageOf("lie").manifest;
  for (const [why, handler, suffix, error] of [
    [
      "schema 1",
      () => ({ headers: { "content-type": mediaTypes.dockerSchema1Signed }, body: "{}" }),
      ":1",
      UnsupportedManifestError,
    ],
    [
      "HTML with status 200",
      () => ({ headers: { "content-type": "text/html" }, body: "<html>Log in</html>" }),
      ":1",
      SpecError,
    ],
    [
      "another manifest than the digest says",
      () => manifestAnswer(lie),
      `@${amd64.manifest.descriptor.digest}`,
      ContentError,
    ],
    [
      "a Docker-Content-Digest that is not true",
      () => ({
        ...manifestAnswer(lie),
        headers: { "docker-content-digest": amd64.manifest.descriptor.digest },
      }),
      ":1",
      ContentError,
    ],
    [
      "a manifest beyond 4 MiB",
      () => ({ body: Buffer.alloc(4 * 1024 * 1024 + 1, " ") }),
      ":1",
      BodyTooLargeError,
    ],
    [
      "an index entry that lies about the size",
      serving(
        indexOf([
          {
            manifest: { ...lie, descriptor: { ...lie.descriptor, size: 5 } },
            platform: { os: "linux", architecture: "amd64" },
          },
        ]),
        [lie],
      ),
      ":1",
      ContentError,
    ],
    ["a manifest that is not there", () => notFound, ":1", RegistryError],
    [
      "an artifact that is no image",
      serving(blobOf('{"schemaVersion":2,"mediaType":"application/x"}', "application/x")),
      ":1",
      SpecError,
    ],
  ] as const satisfies readonly (readonly [string, Handler, string, unknown])[]) {
    it(`fails for ${why}`, async () => {
      const answer: Handler = (request, response) =>
        request.path === "/v2/" ? {} : (handler as Handler)(request, response);
      await assert.rejects(resolved(answer, suffix), error);
    });
  }

  it("an endless manifest is cut off, not collected", async () => {
    let isClosed = false;
    await assert.rejects(
      resolved(({ path }, response) => {
        if (path === "/v2/") return {};
        response.writeHead(200, { "content-type": mediaTypes.ociManifest });
        const timer = setInterval(() => response.write(Buffer.alloc(256 * 1024, " ")), 1);
        response.on("close", () => {
          clearInterval(timer);
          isClosed = true;
        });
        return undefined;
      }),
      BodyTooLargeError,
    );
    assert.ok(await eventually(() => isClosed));
  });

  it("lookUp() asks by HEAD", async () => {
    await using server = await startServer((request) => imageAnswer(request, amd64));
    await using test = openTestClient();
    const found = await test.client.lookUp(parseReference(`${server.domain}/a/b:1`), { signal });
    assert.deepEqual(found, amd64.manifest.descriptor);
    assert.equal(server.requests.at(-1)?.method, "HEAD");
  });
});

describe("mirrors", () => {
  it("that serve a wrong blob are left out when it is tried again", async () => {
    const [layer] = amd64.layers;
    assert.ok(layer !== undefined);
    const wrong = Buffer.from(layer.bytes).reverse();
    await using mirror = await startServer(({ path }) => (path === "/v2/" ? {} : { body: wrong }));
    await using upstream = await startServer((request) => imageAnswer(request, amd64));
    await using test = openTestClient({ mirrors: { [upstream.domain]: [mirror.origin] } });
    const reference = parseReference(`${upstream.domain}/a/b`);
    const fetched = () => collect(test.client.fetchBlob(reference, layer.descriptor, { signal }));
    await assert.rejects(fetched(), ContentError);
    assert.equal(sha256(await fetched()), layer.descriptor.digest);
  });

  it("serve before the registry, and the registry where they fail", async () => {
    await using dead = await startServer((_, response) => {
      response.destroy();
      return undefined;
    });
    await using empty = await startServer(({ path }) => (path === "/v2/" ? {} : notFound));
    await using liar = await startServer(({ path }) =>
      path === "/v2/" ? {} : manifestAnswer(imageOf("lie").manifest),
    );
    await using mirror = await startServer((request) =>
      imageAnswer({ ...request, path: request.path.replace("/v2/hub/", "/v2/") }, amd64),
    );
    await using upstream = await startServer((request) => imageAnswer(request, amd64));
    const reference = parseReference(`${upstream.domain}/a/b@${amd64.manifest.descriptor.digest}`);
    const mirrors = (...list: readonly string[]) => ({ mirrors: { [upstream.domain]: list } });

    await using test = openTestClient(
      mirrors(dead.origin, empty.origin, liar.origin, `${mirror.origin}/hub`),
    );
    const { descriptor } = await test.client.resolve(reference, {
      platform: platform("linux/amd64"),
      signal,
    });
    assert.equal(descriptor.digest, amd64.manifest.descriptor.digest);
    assert.equal(upstream.requests.length, 0);
    assert.equal(eventsOf(test, "mirror-skipped").length, 3);
    assert.equal(mirror.requests.at(-1)?.query.get("ns"), upstream.domain);

    await using second = openTestClient(mirrors(dead.origin, liar.origin));
    await second.client.resolve(reference, { platform: platform("linux/amd64"), signal });
    const [layer] = amd64.layers;
    assert.ok(layer !== undefined);
    for await (const _ of second.client.fetchBlob(reference, layer.descriptor, { signal }));
    // Both failed a moment ago: the blob is asked from the registry at once.
    assert.equal(eventsOf(second, "mirror-skipped").length, 2);
    assert.ok(upstream.requests.some(({ path }) => path.includes("/blobs/")));
    assert.equal(formatReference(reference).startsWith(upstream.domain), true);
  });
});
