import assert from "node:assert/strict";
import { mediaTypes, parseReference } from "../../oci/index.ts";
import { ContentError, type PushBlobOptions, RegistryError } from "../../registry-client/index.ts";
import { eventsOf, openTestClient, signal, streamOf } from "./client.ts";
import { blobOf, imageOf, patternBytes, sha256 } from "./images.ts";
import { startServer } from "./server.ts";
import { UploadRegistry } from "./upload-registry.ts";

const blob = blobOf(patternBytes(1_000_000));
const chunkBytes = 300_000;

async function push(
  registry: UploadRegistry,
  options: Partial<PushBlobOptions> = {},
  bytes = blob.bytes,
) {
  await using server = await startServer(registry.handler);
  await using test = openTestClient();
  const reference = parseReference(`${server.domain}/a/b:1`);
  let opened = 0;
  const open = () => {
    opened++;
    return streamOf(bytes);
  };
  const outcome = await test.client.pushBlob(reference, blob.descriptor, open, {
    signal,
    ...options,
  });
  const methods = server.requests
    .filter(({ path }) => path.includes("/blobs/"))
    .map(({ method }) => method);
  return { outcome, methods, opened, requests: server.requests, uploads: eventsOf(test, "upload") };
}

const isStored = (registry: UploadRegistry) =>
  Buffer.compare(registry.blobs.get(blob.descriptor.digest) ?? Buffer.alloc(0), blob.bytes) === 0;

describe("pushBlob()", () => {
  it("sends nothing that is there", async () => {
    const registry = new UploadRegistry();
    registry.blobs.set(blob.descriptor.digest, Buffer.from(blob.bytes));
    const { outcome, methods, opened } = await push(registry);
    assert.deepEqual([outcome, methods, opened], ["exists", ["HEAD"], 0]);
  });

  it("mounts from another repository", async () => {
    const registry = new UploadRegistry();
    registry.blobs.set(`other/repo@${blob.descriptor.digest}`, Buffer.from(blob.bytes));
    const { outcome, methods, opened } = await push(registry, { mountFrom: "other/repo" });
    assert.deepEqual([outcome, methods, opened], ["mounted", ["HEAD", "POST"], 0]);
  });

  it("uploads where mounting is refused or not known", async () => {
    for (const status of [202, 403, 405]) {
      const registry = new UploadRegistry();
      registry.bend = ({ query }) =>
        status !== 202 && query.has("mount") ? { status } : undefined;
      const { outcome } = await push(registry, { mountFrom: "other/repo" });
      assert.equal(outcome, "uploaded");
      assert.ok(isStored(registry));
    }
  });

  it("sends a small blob in one PUT, with its length and the upload's state", async () => {
    const registry = new UploadRegistry();
    const { methods, requests, uploads } = await push(registry);
    assert.deepEqual(methods, ["HEAD", "POST", "PUT"]);
    const put = requests.at(-1);
    assert.equal(put?.headers["content-length"], "1000000");
    assert.equal(put?.query.get("_state"), "s1");
    assert.equal(uploads.at(-1)?.doneBytes, 1_000_000);
    assert.ok(isStored(registry));
  });

  it("sends an empty blob", async () => {
    const registry = new UploadRegistry();
    await using server = await startServer(registry.handler);
    await using test = openTestClient();
    const empty = blobOf("");
    const reference = parseReference(`${server.domain}/a/b`);
    const open = () => streamOf(empty.bytes);
    assert.equal(
      await test.client.pushBlob(reference, empty.descriptor, open, { signal }),
      "uploaded",
    );
    assert.equal(registry.blobs.get(empty.descriptor.digest)?.length, 0);
  });

  it("sends a large blob in pieces", async () => {
    const registry = new UploadRegistry();
    const { methods, requests } = await push(registry, { chunkBytes });
    assert.deepEqual(methods, ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]);
    const ranges = requests.flatMap(({ headers }) => headers["content-range"] ?? []);
    assert.deepEqual(ranges, ["0-299999", "300000-599999", "600000-899999", "900000-999999"]);
    assert.ok(isStored(registry));
  });

  it("makes pieces as large as the registry wants", async () => {
    const registry = new UploadRegistry();
    registry.headers = { "oci-chunk-min-length": "600000" };
    const { methods } = await push(registry, { chunkBytes });
    assert.equal(methods.filter((method) => method === "PATCH").length, 2);
    assert.ok(isStored(registry));
  });

  it("goes on with the piece after the last that arrived, when the connection breaks", async () => {
    const registry = new UploadRegistry();
    let patches = 0;
    registry.bend = (request, { received }) => {
      if (request.method !== "PATCH" || ++patches !== 2) return undefined;
      // A part of the piece arrived before the break.
      registry.received = Buffer.concat([received, request.body.subarray(0, 12_345)]);
      return "break";
    };
    const { methods, requests } = await push(registry, { chunkBytes });
    assert.ok(isStored(registry));
    assert.ok(methods.includes("GET"));
    const ranges = requests.flatMap(({ headers }) => headers["content-range"] ?? []);
    assert.equal(ranges[2], "312345-612344");
    assert.equal(registry.uploads, 1);
  });

  it("starts again when the registry has forgotten the upload", async () => {
    const registry = new UploadRegistry();
    let patches = 0;
    registry.bend = ({ method }) => {
      if (method === "PATCH" && ++patches === 2) return "break";
      return method === "GET" ? { status: 404 } : undefined;
    };
    await push(registry, { chunkBytes });
    assert.ok(isStored(registry));
    assert.equal(registry.uploads, 2);
  });

  for (const status of [400, 404, 405, 416, 501]) {
    it(`sends the blob whole where pieces are refused with ${status}`, async () => {
      const registry = new UploadRegistry();
      registry.bend = ({ method }) => (method === "PATCH" ? { status } : undefined);
      const { methods } = await push(registry, { chunkBytes });
      assert.deepEqual(methods, ["HEAD", "POST", "PATCH", "POST", "PUT"]);
      assert.ok(isStored(registry));
    });
  }

  it("sends the blob whole where the registry never says that anything arrived", async () => {
    const registry = new UploadRegistry();
    registry.bend = (request) => {
      if (request.method !== "PATCH") return undefined;
      const answer = registry.answer(request);
      return { ...answer, headers: { ...answer.headers, range: "0-0" } };
    };
    const { methods } = await push(registry, { chunkBytes });
    assert.deepEqual(methods, ["HEAD", "POST", "PATCH", "POST", "PUT"]);
    assert.ok(isStored(registry));
  });

  it("closes its source, whether it worked or not", async () => {
    for (const status of [201, 418]) {
      const registry = new UploadRegistry();
      registry.bend = ({ method }) => (method === "PUT" && status !== 201 ? { status } : undefined);
      await using server = await startServer(registry.handler);
      await using test = openTestClient();
      let isClosed = false;
      const open = () => {
        const reader = streamOf(blob.bytes, 1000).getReader();
        return new ReadableStream<Uint8Array>({
          async pull(controller) {
            const { value } = await reader.read();
            if (value !== undefined) controller.enqueue(value);
            else controller.close();
            isClosed ||= value === undefined;
          },
          cancel: () => {
            isClosed = true;
          },
        });
      };
      const reference = parseReference(`${server.domain}/a/b`);
      await test.client.pushBlob(reference, blob.descriptor, open, { signal }).catch(() => {});
      assert.ok(isClosed);
    }
  });

  it("repeats a broken PUT as a new upload", async () => {
    const registry = new UploadRegistry();
    let puts = 0;
    registry.bend = ({ method }) => (method === "PUT" && ++puts < 3 ? "break" : undefined);
    const { opened } = await push(registry);
    assert.ok(isStored(registry));
    assert.equal(opened, 3);
    assert.equal(registry.uploads, 3);
  });

  for (const options of [{}, { chunkBytes }])
    it(`takes a lost answer to the closing PUT for what it is${"chunkBytes" in options ? ", in pieces" : ""}`, async () => {
      const registry = new UploadRegistry();
      registry.bend = (request) => {
        if (request.method !== "PUT") return undefined;
        registry.answer(request);
        return "break";
      };
      const { methods } = await push(registry, options);
      assert.equal(methods.at(-1), "HEAD");
      assert.ok(isStored(registry));
    });

  for (const [what, options] of [
    ["whole", {}],
    ["in pieces", { chunkBytes }],
  ] as const) {
    it(`renews a token that expires during an upload ${what}`, async () => {
      const registry = new UploadRegistry();
      let current = 1;
      let bodies = 0;
      registry.bend = ({ path, headers, host, method }) => {
        if (path === "/token") return { body: `{"token":"t${current}","expires_in":3600}` };
        if ((method === "PATCH" || method === "PUT") && ++bodies === 1) current++;
        if (headers.authorization === `Bearer t${current}`) return undefined;
        return {
          status: 401,
          headers: { "www-authenticate": `Bearer realm="http://${host}/token"` },
        };
      };
      await push(registry, options);
      assert.ok(isStored(registry));
    });
  }

  it("a Location on another host gets the bytes, not our credentials", async () => {
    const registry = new UploadRegistry();
    await using storage = await startServer(registry.handler);
    const front = new UploadRegistry();
    front.bend = (request) => {
      const { method, headers, path } = request;
      if (headers.authorization === undefined)
        return { status: 401, headers: { "www-authenticate": "Basic realm=x" } };
      if (method === "HEAD" || path === "/v2/") return undefined;
      return registry.answer(request);
    };
    registry.locationPrefix = storage.origin;
    await using server = await startServer(front.handler);
    await using test = openTestClient({
      findCredentials: () => Promise.resolve({ kind: "basic", username: "me", password: "secret" }),
    });
    const reference = parseReference(`${server.domain}/a/b`);
    await test.client.pushBlob(reference, blob.descriptor, () => streamOf(blob.bytes), { signal });
    assert.ok(isStored(registry));
    assert.ok(storage.requests.length > 0);
    assert.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it("a Location at plain HTTP elsewhere is refused", async () => {
    const registry = new UploadRegistry();
    registry.locationPrefix = "http://198.51.100.1";
    await assert.rejects(push(registry), /its Location leads to/);
  });

  for (const [why, bytes] of [
    ["short", blob.bytes.subarray(1)],
    ["long", Buffer.concat([blob.bytes, Buffer.from("x")])],
  ] as const) {
    it(`a source that is too ${why} is refused, and not tried again`, async () => {
      const registry = new UploadRegistry();
      await assert.rejects(push(registry, {}, bytes), ContentError);
      assert.equal(registry.uploads, 1);
    });
  }

  it("a source that is too short is noticed between pieces", async () => {
    const bytes = blob.bytes.subarray(0, 650_000);
    await assert.rejects(push(new UploadRegistry(), { chunkBytes }, bytes), ContentError);
  });

  it("other content than the digest says is refused by the registry, and said so", async () => {
    const wrong = patternBytes(1_000_000);
    wrong[5] = 77;
    await assert.rejects(
      push(new UploadRegistry(), {}, wrong),
      (error: unknown) =>
        error instanceof RegistryError && error.failure.errors[0]?.code === "DIGEST_INVALID",
    );
  });
});

describe("pushManifest()", () => {
  const image = imageOf();
  const subject = image.manifest.descriptor;
  const signature = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: "application/vnd.example.signature",
      config: { ...image.config.descriptor, mediaType: mediaTypes.ociEmpty },
      layers: [],
      subject,
      annotations: { by: "me" },
    }),
    mediaTypes.ociManifest,
  );

  async function pushManifests(
    registry: UploadRegistry,
    manifests: readonly Uint8Array[],
    tag?: string,
  ) {
    await using server = await startServer(registry.handler);
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b`);
    for (const bytes of manifests) {
      await test.client.pushManifest(reference, bytes, mediaTypes.ociManifest, {
        signal,
        ...(tag === undefined ? {} : { tag }),
      });
    }
    return await test.client.referrers(reference, subject.digest, { signal });
  }

  it("stores under a tag", async () => {
    const registry = new UploadRegistry();
    await pushManifests(registry, [image.manifest.bytes], "v1");
    assert.equal(sha256(registry.manifests.get("v1") ?? ""), subject.digest);
  });

  it("keeps the referrers tag where the registry does not know subject", async () => {
    const registry = new UploadRegistry();
    const found = await pushManifests(registry, [signature.bytes, signature.bytes]);
    assert.deepEqual(found, [
      {
        ...signature.descriptor,
        artifactType: "application/vnd.example.signature",
        annotations: { by: "me" },
      },
    ]);
  });

  it("leaves the referrers tag alone where the registry knows subject", async () => {
    const registry = new UploadRegistry();
    registry.headers = { "oci-subject": subject.digest };
    await pushManifests(registry, [signature.bytes]);
    assert.ok(![...registry.manifests.keys()].some((name) => name.startsWith("sha256-")));
  });

  it("refuses to push what is no manifest", async () => {
    await assert.rejects(
      pushManifests(new UploadRegistry(), [Buffer.from("{}")]),
      /neither "layers"|missing/,
    );
  });
});
