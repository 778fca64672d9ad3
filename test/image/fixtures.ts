/** Stores, layers and trees for the tests of image/. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { textToByteString } from "../../image/byte-string.ts";
import { openStore, type Store, type StoreOptions } from "../../image/index.ts";
import { encodeEntry, endOfArchive, padding, type TarRecord } from "../../image/tar/writer.ts";
import { type Descriptor, type Digest, formatDigest, mediaTypes } from "../../oci/index.ts";

export interface TestLayer {
  readonly tar: Uint8Array;
  readonly blob: Uint8Array;
  readonly diffId: Digest;
  readonly descriptor: Descriptor;
}

export function sha256(bytes: Uint8Array): Digest {
  return formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
}

export function makeTemporary(prefix = "mw-image-"): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), prefix));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export function sh(script: string, cwd: string): string {
  return execFileSync("bash", ["-ec", script], {
    cwd,
    encoding: "latin1",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** One entry of a hand-made tar; `content` sets the size. */
export interface Entry extends Omit<TarRecord, "path" | "linkPath" | "sizeBytes"> {
  readonly path: string;
  readonly linkPath?: string;
  readonly content?: string | Uint8Array;
}

export function makeTar(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap(({ path, linkPath, content = "", ...rest }) => {
    const body = Buffer.from(content as string);
    const link = linkPath === undefined ? {} : { linkPath: textToByteString(linkPath) };
    const record = { ...rest, ...link, path: textToByteString(path), sizeBytes: body.length };
    return [encodeEntry(record), body, padding(body.length)];
  });
  return Buffer.concat([...parts, endOfArchive]);
}

export function makeLayer(tar: Uint8Array, compress: "gzip" | "none" = "gzip"): TestLayer {
  const blob = compress === "gzip" ? gzipSync(tar, { level: 1 }) : tar;
  const mediaType = compress === "gzip" ? mediaTypes.ociLayerGzip : mediaTypes.ociLayer;
  const descriptor = { mediaType, digest: sha256(blob), size: blob.length };
  return { tar, blob, diffId: sha256(tar), descriptor };
}

export function testStore(path: string, options?: StoreOptions): Store {
  return openStore(join(path, "store"), options);
}

/** Stores layers and an image made of them. */
export async function putImage(store: Store, layers: readonly TestLayer[], extra: object = {}) {
  for (const { blob, descriptor } of layers) await putBlob(store, descriptor, blob);
  const config = {
    architecture: "amd64",
    os: "linux",
    created: "2026-11-22T12:00:00Z",
    config: { Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    ...extra,
  };
  const configBytes = Buffer.from(JSON.stringify(config));
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: await store.blobs.put(mediaTypes.ociConfig, configBytes),
    layers: layers.map((layer) => layer.descriptor),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return store.images.put(await store.blobs.put(mediaTypes.ociManifest, bytes));
}

export async function putBlob(store: Store, descriptor: Descriptor, bytes: Uint8Array) {
  using writer = await store.blobs.ingest(descriptor);
  if (writer === undefined) return;
  writer.write(0, bytes);
  await writer.commit();
}

/**
 * Everything there is to know about a tree, one line a file: type, mode, owner, times, size,
 * device, link target, link count (overlayfs says 1 for any directory), content hash, xattrs.
 */
export function describeTree(path: string): string[] {
  const script = `
    find . -printf '%P|%y|%m|%U|%G|%T@|%l|' \\( -type d -printf '-|' -o -printf '%n|' \\) \\( -type f -printf '%s|' -o -printf '-|' \\) \\
      \\( -type c -o -type b \\) -exec stat -c '%t:%T' {} \\; -o -printf '-\\n'`;
  const facts = sh(script, path).trim().split("\n");
  const sums = sh("find . -type f -print0 | sort -z | xargs -0 -r sha256sum", path);
  const xattrs = sh(
    "find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m - -e hex 2>/dev/null || true",
    path,
  );
  return [...facts.sort(), ...sums.trim().split("\n"), ...xattrs.trim().split("\n")];
}

export function readText(...parts: readonly string[]): string {
  return readFileSync(join(...parts), "utf8");
}
