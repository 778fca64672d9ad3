/**
 * Makes OCI image layouts with GNU tar and gzip, so that what all are measured with comes from
 * nobody's own code. OCI image-spec 1.1, image-layout.md.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Writes `layout` (named "latest") whose layers are the content of `roots`, lowest first. */
export function writeLayout(layout: string, roots: readonly string[], command: string): void {
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  const layers: Blob[] = [];
  const diffIds: string[] = [];
  for (const root of roots) {
    const tar = join(layout, "layer.tar");
    const options = ["--numeric-owner", "--owner=0", "--group=0", "--sort=name"];
    execFileSync("tar", ["-C", root, ...options, "-cf", tar, "."]);
    diffIds.push(`sha256:${sha256(readFileSync(tar))}`);
    execFileSync("gzip", ["-n", "-f", "-6", tar]);
    const bytes = readFileSync(`${tar}.gz`);
    layers.push(writeBlob(layout, "application/vnd.oci.image.layer.v1.tar+gzip", bytes));
    rmSync(`${tar}.gz`);
  }
  const config = writeJson(layout, "application/vnd.oci.image.config.v1+json", {
    architecture: "amd64",
    os: "linux",
    config: { Cmd: [command], Env: ["PATH=/usr/local/bin:/usr/bin:/bin"] },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: roots.map(() => ({ created_by: "manyworlds bench" })),
  });
  const manifest = writeJson(layout, "application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers,
  });
  const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "latest" } };
  writeFileSync(
    join(layout, "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [named] }),
  );
  writeFileSync(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}

export function pushLayout(layout: string, image: string): void {
  const args = ["copy", "--quiet", "--dest-tls-verify=false", `oci:${layout}:latest`];
  execFileSync("skopeo", [...args, `docker://${image}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}

function writeJson(layout: string, mediaType: string, value: object): Blob {
  return writeBlob(layout, mediaType, Buffer.from(JSON.stringify(value)));
}

function writeBlob(layout: string, mediaType: string, bytes: Uint8Array): Blob {
  const hex = sha256(bytes);
  const file = join(layout, "blobs/sha256", hex);
  writeFileSync(file, bytes);
  return { mediaType, digest: `sha256:${hex}`, size: statSync(file).size };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
