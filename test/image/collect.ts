/** Reads an archive into memory, for tests. */
import { byteStringToText } from "../../image/byte-string.ts";
import { defaultLayerLimits, type LayerLimits } from "../../image/limits.ts";
import type { TarEntry, TarSink } from "../../image/tar/entry.ts";
import { TarReader } from "../../image/tar/reader.ts";

export interface Collected {
  readonly entry: TarEntry;
  /** Whole content, holes filled; empty for what is no file. */
  readonly content: Buffer;
}

export class Collector implements TarSink {
  readonly entries: { entry: TarEntry; content: Buffer }[] = [];
  #open = false;

  entry(entry: TarEntry): void {
    if (this.#open) throw new Error("entry() before end()");
    this.#open = true;
    const sizeBytes = entry.sizeBytes < 1 << 26 ? entry.sizeBytes : 0;
    this.entries.push({ entry, content: Buffer.alloc(sizeBytes) });
  }
  data(bytes: Uint8Array, position: number): void {
    const last = this.entries.at(-1);
    if (!this.#open || last === undefined) throw new Error("data() outside an entry");
    if (position + bytes.length > last.entry.sizeBytes) throw new Error("data() beyond the file");
    if (last.content.length > 0) last.content.set(bytes, position);
  }
  end(): void {
    if (!this.#open) throw new Error("end() outside an entry");
    this.#open = false;
  }
}

/** Pushes `bytes` in pieces as large as `chunkBytes` says. */
export function collectTar(
  bytes: Uint8Array,
  chunkBytes: () => number = () => 256 * 1024,
  limits: Partial<LayerLimits> = {},
): Map<string, Collected> {
  const collector = new Collector();
  const reader = new TarReader(collector, { ...defaultLayerLimits, ...limits });
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + Math.max(1, chunkBytes()));
    reader.push(bytes.subarray(at, end));
    at = end;
  }
  reader.finish();
  return new Map(collector.entries.map((item) => [byteStringToText(item.entry.path), item]));
}

/** A small seeded generator (mulberry32): failures can be run again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
