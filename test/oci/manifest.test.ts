import assert from "node:assert/strict";
import {
  layerCompression,
  MAX_LAYERS,
  MAX_MANIFEST_BYTES,
  mediaTypes,
  parseImageConfig,
  parseManifest,
  SpecError,
  UnsupportedManifestError,
} from "../../oci/index.ts";
import { fuzzText } from "./fuzz.ts";

const digest = `sha256:${"ab".repeat(32)}`;
const config = { mediaType: mediaTypes.ociConfig, digest, size: 2 };
const layer = { mediaType: mediaTypes.ociLayerGzip, digest, size: 10, annotations: { a: "b" } };
const image = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  manifests: [
    {
      mediaType: mediaTypes.ociManifest,
      digest,
      size: 5,
      platform: { os: "linux", architecture: "arm64", variant: "v8" },
    },
  ],
};
const parse = (value: unknown, type?: string) => parseManifest(JSON.stringify(value), type);

describe("manifest", () => {
  it("an image manifest keeps config and layers", () => {
    const manifest = parse({ ...image, annotations: null, extra: { x: 1 } });
    assert.deepEqual(manifest, {
      kind: "image",
      mediaType: mediaTypes.ociManifest,
      config,
      layers: [layer],
    });
  });

  it("an index keeps platforms as written", () => {
    const manifest = parse(index);
    assert.ok(manifest.kind === "index");
    assert.equal(manifest.mediaType, mediaTypes.ociIndex);
    assert.equal(manifest.manifests[0]?.platform?.variant, "v8");
  });

  for (const [why, value, type, kind, settled] of [
    ["its own media type", image, undefined, "image", mediaTypes.ociManifest],
    [
      "the header, when it names none",
      { ...image, mediaType: undefined },
      `${mediaTypes.dockerManifest}; charset=utf-8`,
      "image",
      `${mediaTypes.dockerManifest}; charset=utf-8`,
    ],
    [
      "its own type when the header says another of the same kind",
      image,
      mediaTypes.dockerManifest,
      "image",
      mediaTypes.ociManifest,
    ],
    [
      "its own type under a plain file server",
      image,
      "application/octet-stream",
      "image",
      mediaTypes.ociManifest,
    ],
    [
      "its fields, when nothing names it",
      { ...image, mediaType: undefined },
      "text/plain",
      "image",
      mediaTypes.ociManifest,
    ],
    [
      "an index with Go's null for an empty list",
      { schemaVersion: 2, mediaType: mediaTypes.dockerManifestList, manifests: null },
      undefined,
      "index",
      mediaTypes.dockerManifestList,
    ],
  ] as const) {
    it(`the kind follows ${why}`, () => {
      const manifest = parse(value, type);
      assert.deepEqual([manifest.kind, manifest.mediaType], [kind, settled]);
    });
  }

  for (const [why, value, message] of [
    ["a list", [], /is an array, expected an object/],
    ["an empty object", {}, /neither "layers" nor "manifests"/],
    ["both kinds at once", { ...image, manifests: index.manifests }, /both "manifests" and/],
    [
      "an index that calls itself an image",
      { ...index, mediaType: mediaTypes.ociManifest },
      /"config" is missing/,
    ],
    [
      "a media type that is no manifest's",
      { ...image, mediaType: "application/json" },
      /its "mediaType" is/,
    ],
    ["schema version 3", { ...image, schemaVersion: 3 }, /"schemaVersion" is 3, expected 2/],
    ["no config", { ...image, config: undefined }, /"config" is missing, expected an object/],
    ["a negative size", { ...image, layers: [{ ...layer, size: -1 }] }, /"layers\[0\].size" is -1/],
    [
      "a fractional size",
      { ...image, layers: [{ ...layer, size: 1.5 }] },
      /"layers\[0\].size" is 1.5/,
    ],
    [
      "a bad digest",
      { ...image, layers: [layer, { ...layer, digest: "sha256:zz" }] },
      /"layers\[1\].digest" is "sha256:zz", expected 64/,
    ],
    [
      "an annotation that is no string",
      { ...image, annotations: { "a b": 1 } },
      /"annotations\["a b"\]" is 1/,
    ],
    ["too many layers", { ...image, layers: Array(MAX_LAYERS + 1).fill(layer) }, /has 4097 items/],
  ] as const) {
    it(`parseManifest() refuses ${why}`, () =>
      assert.throws(
        () => parse(value),
        (error: unknown) => error instanceof SpecError && message.test(error.message),
      ));
  }

  it("parseManifest() refuses a document that the registry sends as the other kind", () => {
    assert.throws(() => parse(image, mediaTypes.ociIndex), /calls itself/);
  });

  for (const [why, text, type] of [
    ["by schemaVersion", '{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}', undefined],
    ["by Content-Type", "{}", mediaTypes.dockerSchema1Signed],
  ] as const) {
    it(`Docker's schema 1 is refused with a hint, told ${why}`, () =>
      assert.throws(
        () => parseManifest(text, type),
        (error: unknown) =>
          error instanceof UnsupportedManifestError &&
          /push the image again/.test(error.hint ?? ""),
      ));
  }

  for (const [why, source, message] of [
    ["more than 4 MiB", " ".repeat(MAX_MANIFEST_BYTES + 1), /expected at most 4194304/],
    ["deep nesting", "[".repeat(100_000), /deeper than 32/],
    ["short text that nests", "[".repeat(1000) + "]".repeat(1000), /is an array/],
    ["HTML", "<html>", /not JSON: it starts with "<html>"/],
    ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), /not UTF-8/],
    ["a byte order mark", Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d), /not JSON/],
  ] as const) {
    it(`parseManifest() refuses ${why}`, () => assert.throws(() => parseManifest(source), message));
  }

  it("brackets inside strings do not count as nesting", () => {
    const manifest = parse({ ...image, annotations: { deep: '["\\"'.repeat(30_000) } });
    assert.equal(manifest.kind, "image");
  });

  it("parseManifest() returns or throws a SpecError, whatever it reads (fuzz)", () => {
    fuzzText([JSON.stringify(image), JSON.stringify(index)], (text) => {
      try {
        const manifest = parseManifest(text);
        const list = manifest.kind === "index" ? manifest.manifests : manifest.layers;
        for (const each of list)
          assert.ok(each.size >= 0 && /^sha\d+:[0-9a-f]+$/.test(each.digest));
      } catch (error) {
        if (!(error instanceof SpecError)) throw error;
      }
      assert.equal(Reflect.get({}, "polluted"), undefined);
    });
  });
});

describe("layer media types", () => {
  for (const [type, compression] of [
    [mediaTypes.ociLayer, "none"],
    [mediaTypes.ociLayerGzip, "gzip"],
    [mediaTypes.ociLayerZstd, "zstd"],
    [mediaTypes.dockerLayer, "none"],
    [mediaTypes.dockerLayerGzip, "gzip"],
    ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
    [mediaTypes.dockerForeignLayerGzip, "gzip"],
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"],
    ["application/vnd.in-toto+json", undefined],
    ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted", undefined],
  ] as const) {
    it(`${type} is ${compression ?? "no layer"}`, () =>
      assert.equal(layerCompression(type), compression));
  }
});

describe("image config", () => {
  const minimal = {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [digest] },
  };

  it("parseImageConfig() keeps docker's fields and drops nulls", () => {
    const parsed = parseImageConfig(
      JSON.stringify({
        ...minimal,
        config: {
          Env: ["PATH=/bin"],
          Cmd: null,
          Volumes: null,
          ExposedPorts: { "80/tcp": {} },
          Healthcheck: { Test: ["CMD-SHELL", "true"], Interval: 30_000_000_000 },
          StopSignal: "SIGINT",
          Labels: { ["__proto__"]: "x" },
        },
        history: [{ created_by: "ADD", empty_layer: false }],
      }),
    );
    assert.equal(parsed.config?.Healthcheck?.Interval, 30_000_000_000);
    assert.equal("Cmd" in (parsed.config ?? {}), false);
    assert.deepEqual(Object.keys(parsed.config?.ExposedPorts ?? {}), ["80/tcp"]);
    assert.deepEqual(Object.keys(parsed.config?.Labels ?? {}), ["__proto__"]);
    assert.deepEqual(parsed.rootfs.diff_ids, [digest]);
  });

  for (const [why, value, message] of [
    ["no rootfs", { ...minimal, rootfs: undefined }, /"rootfs" is missing/],
    [
      "an environment that is text",
      { ...minimal, config: { Env: "A=1" } },
      /"config.Env" is "A=1", expected an array/,
    ],
    [
      "a diff ID that is no digest",
      { ...minimal, rootfs: { type: "layers", diff_ids: ["x"] } },
      /"rootfs.diff_ids\[0\]"/,
    ],
  ] as const) {
    it(`parseImageConfig() refuses ${why}`, () =>
      assert.throws(() => parseImageConfig(JSON.stringify(value)), message));
  }
});
