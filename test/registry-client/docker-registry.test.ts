/** Against Debian's docker-registry, and with skopeo's eyes. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Descriptor,
  type ImageReference,
  mediaTypes,
  parsePlatform,
  parseReference,
} from "../../oci/index.ts";
import { type RegistryClient, RegistryError } from "../../registry-client/index.ts";
import { makeCertificates } from "./certificates.ts";
import { collect, eventsOf, eventually, openTestClient, signal, streamOf } from "./client.ts";
import { type DockerRegistry, startDockerRegistry } from "./docker-registry.ts";
import { startFlakyLine } from "./flaky.ts";
import { blobOf, imageOf, indexOf, patternBytes, sha256, type TestImage } from "./images.ts";

/** User "me", password "secret", by bcrypt, the only hash that docker-registry takes. */
const htpasswd = "me:$2y$04$NSpmuOBPKDOgUQDvbH/GGepxd5BxvvdFbKPqUxXxwp2K1tmnA8e/6\n";
const me = { kind: "basic", username: "me", password: "secret" } as const;
const platform = parsePlatform("linux/amd64");

async function pushImage(
  client: RegistryClient,
  reference: ImageReference,
  image: TestImage,
): Promise<void> {
  for (const { bytes, descriptor } of [image.config, ...image.layers]) {
    await client.pushBlob(reference, descriptor, () => streamOf(bytes), { signal });
  }
  const { bytes, descriptor } = image.manifest;
  const { tag } = reference;
  await client.pushManifest(reference, bytes, descriptor.mediaType, {
    signal,
    ...(tag === undefined ? {} : { tag }),
  });
}

describe("with Debian's docker-registry", () => {
  let registry: DockerRegistry;
  before(async () => {
    registry = await startDockerRegistry();
  });
  after(() => registry[Symbol.asyncDispose]());
  const reference = (text: string) => parseReference(`${registry.domain}/${text}`);

  it("what is pushed is pulled", async () => {
    await using test = openTestClient();
    const image = imageOf("round trip");
    await pushImage(test.client, reference("round/trip:1"), image);
    const found = await test.client.resolve(reference("round/trip:1"), { platform, signal });
    assert.equal(found.descriptor.digest, image.manifest.descriptor.digest);
    const [layer] = found.manifest.layers;
    assert.ok(layer !== undefined);
    const bytes = await collect(test.client.fetchBlob(reference("round/trip"), layer, { signal }));
    assert.equal(Buffer.from(bytes).toString(), "round trip");
    assert.deepEqual(
      await test.client.lookUp(reference("round/trip:1"), { signal }),
      image.manifest.descriptor,
    );
  });

  it("skopeo reads what we pushed, and we read what skopeo pushed", async () => {
    await using test = openTestClient();
    const image = imageOf("for skopeo");
    await pushImage(test.client, reference("skopeo/ours:1"), image);
    const skopeo = (...args: string[]) => execFileSync("skopeo", args, { encoding: "utf8" });
    const from = `docker://${registry.domain}/skopeo/ours:1`;
    const raw = skopeo("inspect", "--raw", "--tls-verify=false", from);
    assert.equal(sha256(raw), image.manifest.descriptor.digest);
    const to = `docker://${registry.domain}/skopeo/theirs:2`;
    skopeo(
      "copy",
      "--quiet",
      "--src-tls-verify=false",
      "--dest-tls-verify=false",
      "--format",
      "v2s2",
      from,
      to,
    );
    const theirs = await test.client.resolve(reference("skopeo/theirs:2"), { platform, signal });
    assert.equal(theirs.manifest.mediaType, mediaTypes.dockerManifest);
    const [layer] = theirs.manifest.layers;
    assert.ok(layer !== undefined);
    await collect(test.client.fetchBlob(reference("skopeo/theirs"), layer, { signal }));
  });

  it("an index is pushed and resolved by platform", async () => {
    await using test = openTestClient();
    const amd64 = imageOf("amd64");
    const arm64 = imageOf("arm64", { os: "linux", architecture: "arm64" });
    for (const image of [amd64, arm64]) {
      const { digest } = image.manifest.descriptor;
      await pushImage(
        test.client,
        { ...parseReference(`${registry.domain}/multi@${digest}`) },
        image,
      );
    }
    const index = indexOf([
      { manifest: amd64.manifest, platform: { os: "linux", architecture: "amd64" } },
      { manifest: arm64.manifest, platform: { os: "linux", architecture: "arm64" } },
    ]);
    await test.client.pushManifest(reference("multi"), index.bytes, mediaTypes.ociIndex, {
      tag: "1",
      signal,
    });
    const found = await test.client.resolve(reference("multi:1"), {
      platform: parsePlatform("linux/arm64"),
      signal,
    });
    assert.equal(found.descriptor.digest, arm64.manifest.descriptor.digest);
    assert.equal(found.index?.descriptor.digest, index.descriptor.digest);
  });

  it("a large blob goes up in pieces, is mounted elsewhere, and comes back in ranges", async () => {
    await using test = openTestClient();
    const large = blobOf(patternBytes(40 * 1024 * 1024 + 17));
    const open = () => streamOf(large.bytes);
    const options = { signal, chunkBytes: 10_000_000 };
    assert.equal(
      await test.client.pushBlob(reference("large/a"), large.descriptor, open, options),
      "uploaded",
    );
    assert.equal(
      await test.client.pushBlob(reference("large/a"), large.descriptor, open, options),
      "exists",
    );
    const mounted = await test.client.pushBlob(reference("large/b"), large.descriptor, open, {
      signal,
      mountFrom: "large/a",
    });
    assert.equal(mounted, "mounted");
    for (const connections of [1, 4]) {
      const bytes = await collect(
        test.client.fetchBlob(reference("large/b"), large.descriptor, { signal, connections }),
      );
      assert.equal(sha256(bytes), large.descriptor.digest);
    }
    const patches = eventsOf(test, "answer").filter(({ method }) => method === "PATCH");
    assert.equal(patches.length, 5);
  });

  it("lists all tags", async () => {
    await using test = openTestClient();
    const image = imageOf("tags");
    const wanted = ["a", "b", "c", "d", "e"];
    for (const tag of wanted) await pushImage(test.client, reference(`tags:${tag}`), image);
    const tags: string[] = [];
    for await (const tag of test.client.listTags(reference("tags"), { signal, pageSize: 2 }))
      tags.push(tag);
    // docker-registry 2.8 neither sorts nor pages.
    assert.deepEqual(tags.sort(), wanted);
  });

  it("keeps referrers under the fallback tag", async () => {
    await using test = openTestClient();
    const image = imageOf("signed");
    await pushImage(test.client, reference("signed:1"), image);
    const signature = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        artifactType: "application/vnd.example.signature",
        config: image.config.descriptor,
        layers: image.layers.map(({ descriptor }) => descriptor),
        subject: image.manifest.descriptor,
      }),
    );
    const digest = await test.client.pushManifest(
      reference("signed"),
      signature,
      mediaTypes.ociManifest,
      { signal },
    );
    const found = await test.client.referrers(
      reference("signed"),
      image.manifest.descriptor.digest,
      { signal },
    );
    assert.deepEqual(
      found.map((each) => each.digest),
      [digest],
    );
  });

  it("deletes a manifest", async () => {
    await using test = openTestClient();
    const image = imageOf("deleted");
    await pushImage(test.client, reference("deleted:1"), image);
    const { digest } = image.manifest.descriptor;
    await test.client.delete(parseReference(`${registry.domain}/deleted@${digest}`), { signal });
    await assert.rejects(
      test.client.resolve(reference("deleted:1"), { platform, signal }),
      (error: unknown) => error instanceof RegistryError && error.failure.problem === "not-found",
    );
  });

  for (const [what, target, code] of [
    ["repository", "no/such:1", "MANIFEST_UNKNOWN"],
    ["tag", "round/trip:none", "MANIFEST_UNKNOWN"],
  ] as const) {
    it(`a missing ${what} is said to be missing, once`, async () => {
      await using test = openTestClient();
      await assert.rejects(
        test.client.resolve(reference(target), { platform, signal }),
        (error: unknown) => {
          assert.ok(error instanceof RegistryError);
          assert.equal(error.failure.errors[0]?.code, code);
          return true;
        },
      );
      assert.equal(eventsOf(test, "retry").length, 0);
    });
  }

  for (const seed of [1, 2, 3]) {
    it(`a line that breaks again and again carries a large blob there and back (seed ${seed})`, async () => {
      const large = blobOf(patternBytes(30 * 1024 * 1024 + seed));
      const options = { bytes: 4_000_000, seed };
      // docker-registry 2.8 forgets an upload whose PATCH broke, so this line must hold in the end.
      await using up = await startFlakyLine(registry.domain, {
        ...options,
        direction: "up",
        maxBreaks: 3,
      });
      await using down = await startFlakyLine(registry.domain, {
        ...options,
        direction: "down",
        maxBreaks: 1000,
      });
      await using test = openTestClient({
        retry: { attempts: 10, baseDelayMs: 50, maxDelayMs: 100 },
      });
      const open = () => streamOf(large.bytes);
      const there = parseReference(`${up.domain}/flaky/${seed}`);
      const pushed = test.client.pushBlob(there, large.descriptor, open, {
        signal,
        chunkBytes: 3_000_000,
      });
      assert.equal(await pushed, "uploaded");
      assert.equal(up.breaks, 3);
      const back = parseReference(`${down.domain}/flaky/${seed}`);
      for (const connections of [1, 3]) {
        const bytes = await collect(
          test.client.fetchBlob(back, large.descriptor, { signal, connections }),
        );
        assert.equal(sha256(bytes), large.descriptor.digest);
      }
      assert.ok(down.breaks >= 3, `${down.breaks} breaks`);
    });
  }

  it("a pull that was killed goes on where it stopped", async () => {
    await using test = openTestClient();
    const large = blobOf(patternBytes(60 * 1024 * 1024));
    const place = reference("killed/a");
    await test.client.pushBlob(place, large.descriptor, () => streamOf(large.bytes), { signal });
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-killed-"));
    try {
      const file = join(directory, "partial");
      await pullAndKill(place, large.descriptor, file);
      const offset = statSync(file).size;
      assert.ok(offset > 0 && offset < large.descriptor.size, `${offset} bytes`);
      const hasher = createHash("sha256").update(readFileSync(file));
      const rest = test.client.fetchBlob(place, large.descriptor, { signal, offset, hasher });
      const fd = openSync(file, "a");
      for await (const chunk of rest) writeSync(fd, chunk);
      closeSync(fd);
      assert.equal(sha256(readFileSync(file)), large.descriptor.digest);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

/** Pulls in a process of its own that writes slowly, and kills it in the middle. */
async function pullAndKill(
  place: ImageReference,
  descriptor: Descriptor,
  file: string,
): Promise<void> {
  const script = join(import.meta.dirname, "pull-slowly.ts");
  const args = [...process.execArgv, script, JSON.stringify({ place, descriptor, file })];
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  const exit = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  const sizeOf = () => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const hasStarted = await eventually(
    () => sizeOf() > 1_000_000 || child.exitCode !== null,
    10_000,
  );
  child.kill("SIGKILL");
  await exit;
  assert.ok(hasStarted);
}

describe("with Debian's docker-registry behind a password and TLS", () => {
  it("basic authorization serves push, pull, ping and login", async () => {
    using certificates = makeCertificates(["IP:127.0.0.1"]);
    await using registry = await startDockerRegistry({ htpasswd, tls: certificates.paths });
    const ca = [certificates.ca];
    const reference = parseReference(`${registry.domain}/private/app:1`);
    await using stranger = openTestClient({ ca });
    const isUnauthorized = (error: unknown) =>
      error instanceof RegistryError &&
      error.failure.problem === "unauthorized" &&
      error.hint?.endsWith(`: manyworlds login ${registry.domain}`) === true;
    await assert.rejects(stranger.client.ping(registry.domain, { signal }), isUnauthorized);
    await assert.rejects(
      stranger.client.login(registry.domain, { username: "me", password: "wrong", signal }),
      isUnauthorized,
    );

    await using known = openTestClient({ ca, findCredentials: () => Promise.resolve(me) });
    const image = imageOf("private");
    await pushImage(known.client, reference, image);

    await stranger.client.login(registry.domain, { ...me, signal });
    const found = await stranger.client.resolve(reference, { platform, signal });
    assert.equal(found.descriptor.digest, image.manifest.descriptor.digest);
  });
});

describe("with docker-registry as a mirror", () => {
  it("a pull-through cache serves what its upstream has", async () => {
    await using upstream = await startDockerRegistry();
    await using mirror = await startDockerRegistry({ proxyOf: `http://${upstream.domain}` });
    const reference = parseReference(`${upstream.domain}/library/app:1`);
    await using test = openTestClient({
      mirrors: { [upstream.domain]: [`http://${mirror.domain}`] },
    });
    const image = imageOf("mirrored");
    await pushImage(test.client, reference, image);
    const found = await test.client.resolve(reference, { platform, signal });
    const [layer] = found.manifest.layers;
    assert.ok(layer !== undefined);
    await collect(test.client.fetchBlob(reference, layer, { signal }));
    assert.equal(eventsOf(test, "mirror-skipped").length, 0);
    const reads = eventsOf(test, "answer").filter(
      ({ method, url }) => method === "GET" && !url.endsWith("/v2/"),
    );
    assert.ok(reads.length >= 2 && reads.every(({ url }) => url.includes(mirror.domain)));
  });
});
