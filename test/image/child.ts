/** What the crash tests run in a child process: `child.ts VERB STORE …`. */
import { createReadStream, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { loadImages, openStore } from "../../image/index.ts";
import { type Descriptor, parseReference } from "../../oci/index.ts";

const [verb, root = "", argument = "", extra = ""] = process.argv.slice(2);
const store = openStore(root);
const STEP_BYTES = 64 * 1024;

/** Stores a blob slowly, telling how far it is. */
async function ingest(): Promise<void> {
  const bytes = readFileSync(argument);
  const descriptor = JSON.parse(extra) as Descriptor;
  const writer = await store.blobs.ingest(descriptor);
  console.log(writer === undefined ? "there" : `at ${writer.offset}`);
  if (writer === undefined) return;
  using _ = writer;
  for (const { offset, length } of writer.missing)
    for (let at = offset; at < offset + length; at += STEP_BYTES) {
      writer.write(at, bytes.subarray(at, Math.min(at + STEP_BYTES, offset + length)));
      if (at % (16 * STEP_BYTES) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  await writer.commit();
  console.log("stored");
}

async function unpack(): Promise<void> {
  using _ = await store.lease();
  const { record } = store.images.get(argument);
  console.log("begins");
  await store.snapshots.unpack(
    record.layers.map((descriptor, i) => {
      const diffId = record.diffIds[i];
      if (diffId === undefined) throw new Error("A layer has no diff ID");
      return { descriptor, diffId };
    }),
  );
  console.log("unpacked");
}

async function load(): Promise<void> {
  console.log("begins");
  const stream = Readable.toWeb(createReadStream(argument)) as ReadableStream<Uint8Array>;
  await loadImages(store, stream, { reference: "killed:1" });
  console.log("loaded");
}

async function tag(): Promise<void> {
  const image = store.images.get(argument);
  console.log("begins");
  for (let i = 0; i < 400; i++) store.images.tag(image, parseReference(`name${i}:${extra}`));
  console.log("tagged");
}

async function remove(): Promise<void> {
  const { prune, removeImage } = await import("../../image/index.ts");
  await removeImage(store, argument);
  await prune(store);
}

const verbs: Readonly<Record<string, () => Promise<void>>> = { ingest, unpack, load, tag, remove };
await verbs[verb ?? ""]?.();
store[Symbol.dispose]();
