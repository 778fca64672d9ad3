/**
 * Streaming tar reader: v7, ustar, PAX, star, GNU.
 *
 * Bytes are pushed in chunks of any size; entries and their bodies come out through a `TarSink`
 * while the chunk is looked at, and bodies are never copied or joined. Only headers that fall
 * across two chunks, and metadata (PAX records, GNU long names), are collected.
 */
import { LayerError, LimitError } from "../errors.ts";
import { defaultLayerLimits, type LayerLimits } from "../limits.ts";
import type { TarSink } from "./entry.ts";
import { BLOCK_BYTES, decodeHeader, isZeroBlock, type TarHeader } from "./header.ts";
import { Metadata } from "./metadata.ts";
import { BodyMapDecoder, decodeOldGnuExtents, type Extent, tooManyExtents } from "./sparse.ts";

type State =
  /** Wants a header block. */
  | "header"
  /** Collects PAX records or a GNU long name. */
  | "metadata"
  /** Wants an extension block of an old GNU sparse header. */
  | "extents"
  /** Wants blocks of a PAX 1.0 sparse map. */
  | "map"
  | "body"
  /** A body of no interest. */
  | "skip"
  | "padding"
  /** After the end-of-archive mark. */
  | "trailer";

export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: LayerLimits;
  readonly #metadata: Metadata;
  #state: State = "header";
  /** Bytes consumed so far: the offset of whatever comes next. */
  #offset = 0;
  #block = new Uint8Array(BLOCK_BYTES);
  #blockFilled = 0;
  #zeroBlocks = 0;
  /** Bytes left in the present body or metadata, and of padding after it. */
  #remaining = 0;
  #padding = 0;
  #collected: Uint8Array = new Uint8Array(0);
  #collectedType = "";
  #entryOffset = 0;
  #entries = 0;
  #expandedBytes = 0;
  #header: TarHeader | undefined;
  #headerBlock = new Uint8Array(BLOCK_BYTES);
  #extents: Extent[] | undefined;
  #extentIndex = 0;
  #position = 0;
  #map: BodyMapDecoder | undefined;

  constructor(sink: TarSink, limits: LayerLimits = defaultLayerLimits) {
    this.#sink = sink;
    this.#limits = limits;
    this.#metadata = new Metadata(limits);
  }

  /** Entries seen so far. */
  get entries(): number {
    return this.#entries;
  }

  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const before = at;
      at = this.#step(chunk, at);
      this.#offset += at - before;
    }
  }

  /** Call after the last chunk; throws unless the archive ended at a header's place. */
  finish(): void {
    if (this.#state === "trailer") return;
    // Archives without an end mark exist and every reader takes them.
    const clean = this.#state === "header" && this.#blockFilled === 0 && this.#metadata.isEmpty;
    if (!clean)
      throw new LayerError(
        `Cannot read ${this.#where()}: the archive is truncated at byte ${this.#offset}`,
      );
  }

  /** Consumes something of the chunk and returns how far it came. */
  #step(chunk: Uint8Array, at: number): number {
    switch (this.#state) {
      case "header":
      case "extents":
      case "map":
        return this.#stepBlock(chunk, at);
      case "metadata":
        return this.#stepMetadata(chunk, at);
      case "body":
        return this.#stepBody(chunk, at);
      case "skip": {
        const take = Math.min(this.#remaining, chunk.length - at);
        this.#remaining -= take;
        if (this.#remaining === 0) this.#toPadding();
        return at + take;
      }
      case "padding": {
        const take = Math.min(this.#padding, chunk.length - at);
        this.#padding -= take;
        if (this.#padding === 0) this.#state = "header";
        return at + take;
      }
      case "trailer":
        return this.#stepTrailer(chunk, at);
      default:
        throw this.#state satisfies never;
    }
  }

  #stepBlock(chunk: Uint8Array, at: number): number {
    const available = chunk.length - at;
    if (this.#blockFilled === 0 && available >= BLOCK_BYTES) {
      this.#onBlock(chunk.subarray(at, at + BLOCK_BYTES));
      return at + BLOCK_BYTES;
    }
    const take = Math.min(BLOCK_BYTES - this.#blockFilled, available);
    this.#block.set(chunk.subarray(at, at + take), this.#blockFilled);
    this.#blockFilled += take;
    if (this.#blockFilled === BLOCK_BYTES) {
      this.#blockFilled = 0;
      this.#onBlock(this.#block);
    }
    return at + take;
  }

  #onBlock(block: Uint8Array): void {
    if (this.#state === "header") this.#onHeader(block);
    else if (this.#state === "extents") this.#onExtents(block);
    else this.#onMap(block);
  }

  #onHeader(block: Uint8Array): void {
    // The mark is two zero blocks; one alone is only tolerated at the very end.
    if (block[0] === 0 && isZeroBlock(block)) {
      this.#zeroBlocks++;
      if (this.#zeroBlocks === 2) {
        if (!this.#metadata.isEmpty)
          throw new LayerError(`Cannot read ${this.#where()}: its extended header has no entry`);
        this.#state = "trailer";
        this.#remaining = this.#limits.maxTrailerBytes;
      }
      return;
    }
    this.#header = undefined;
    if (this.#metadata.isEmpty) this.#entryOffset = this.#offset - (this.#offset % BLOCK_BYTES);
    if (this.#zeroBlocks > 0)
      throw new LayerError(`Cannot read ${this.#where()}: a lone zero block precedes it`);
    const header = decodeHeader(block, this.#where());
    switch (header.type) {
      case "x":
      case "X":
      case "g":
      case "L":
      case "K":
        this.#beginMetadata(header);
        return;
      case "V": // volume label
        this.#setRemaining(header);
        return;
      default:
        this.#header = header;
        this.#headerBlock.set(block);
        this.#extents = undefined;
        if (header.type === "S") this.#onExtents(block);
        else this.#beginEntry();
    }
  }

  #beginMetadata(header: TarHeader): void {
    const { maxMetadataBytes } = this.#limits;
    if (header.sizeBytes > maxMetadataBytes)
      throw new LimitError(
        `Cannot read ${this.#where()}: its extended header has ${header.sizeBytes} bytes, ` +
          `the limit is ${maxMetadataBytes}`,
        "maxMetadataBytes",
      );
    this.#count(header.sizeBytes);
    this.#collected = new Uint8Array(this.#sizeOf(header));
    this.#collectedType = header.type;
    this.#setRemaining(header);
    if (this.#remaining === 0) this.#metadata.add(header.type, this.#collected, this.#where());
    else this.#state = "metadata";
  }

  #stepMetadata(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#remaining, chunk.length - at);
    this.#collected.set(chunk.subarray(at, at + take), this.#collected.length - this.#remaining);
    this.#remaining -= take;
    if (this.#remaining === 0) {
      this.#metadata.add(this.#collectedType, this.#collected, this.#where());
      this.#toPadding();
    }
    return at + take;
  }

  #onExtents(block: Uint8Array): void {
    const kind = this.#state === "extents" ? "extension" : "header";
    const { extents, more } = decodeOldGnuExtents(block, kind, this.#where());
    this.#extents = this.#extents === undefined ? extents : this.#extents.concat(extents);
    if (this.#extents.length > this.#limits.maxSparseExtents)
      throw tooManyExtents(this.#limits, this.#where());
    this.#state = more ? "extents" : "header";
    if (!more) this.#beginEntry();
  }

  #onMap(block: Uint8Array): void {
    const map = this.#map;
    if (map === undefined || this.#remaining < BLOCK_BYTES)
      throw new LayerError(`Cannot read ${this.#where()}: its sparse map is longer than its body`);
    this.#remaining -= BLOCK_BYTES;
    map.push(block);
    if (!map.done) return;
    this.#map = undefined;
    this.#extents = map.extents();
    this.#emitEntry();
  }

  /** Everything is known but the extents that a PAX 1.0 body opens with. */
  #beginEntry(): void {
    const header = this.#header;
    if (header === undefined) throw new Error("A tar entry has no header");
    const sizeBytes = this.#metadata.bodyBytes(header, this.#where());
    this.#padding = paddingOf(sizeBytes);
    this.#remaining = sizeBytes;
    this.#count(sizeBytes);
    this.#map = this.#metadata.mapInBody
      ? new BodyMapDecoder(this.#limits, this.#where())
      : undefined;
    if (this.#map === undefined) this.#emitEntry();
    else this.#state = "map";
  }

  #emitEntry(): void {
    const header = this.#header;
    if (header === undefined) throw new Error("A tar entry has no header");
    const entry = this.#metadata.complete({
      header,
      headerBlock: this.#headerBlock,
      bodyBytes: this.#remaining,
      extents: this.#extents,
      offset: this.#entryOffset,
      where: this.#where(),
    });
    this.#entries++;
    if (this.#entries > this.#limits.maxEntries)
      throw new LimitError(
        `Cannot read more than ${this.#limits.maxEntries} entries of one layer`,
        "maxEntries",
      );
    this.#extents = entry.extents === undefined ? undefined : [...entry.extents];
    this.#extentIndex = 0;
    this.#position = this.#extents?.[0]?.offset ?? 0;
    this.#metadata.reset();
    const isFile = entry.type === "file";
    this.#sink.entry(entry);
    if (!isFile || this.#remaining === 0) this.#sink.end();
    if (this.#remaining === 0) this.#toPadding();
    else this.#state = isFile ? "body" : "skip";
  }

  #stepBody(chunk: Uint8Array, at: number): number {
    const available = Math.min(this.#remaining, chunk.length - at);
    let take = available;
    if (this.#extents !== undefined) {
      const extent = this.#extents[this.#extentIndex];
      if (extent === undefined) throw new Error("A sparse file has more data than extents");
      const left = extent.offset + extent.length - this.#position;
      take = Math.min(available, left);
    }
    this.#sink.data(chunk.subarray(at, at + take), this.#position);
    this.#position += take;
    this.#remaining -= take;
    this.#nextExtent();
    if (this.#remaining === 0) {
      this.#sink.end();
      this.#toPadding();
    }
    return at + take;
  }

  #nextExtent(): void {
    const extent = this.#extents?.[this.#extentIndex];
    if (extent === undefined || this.#position < extent.offset + extent.length) return;
    this.#extentIndex++;
    this.#position = this.#extents?.[this.#extentIndex]?.offset ?? this.#position;
  }

  #stepTrailer(chunk: Uint8Array, at: number): number {
    this.#remaining -= chunk.length - at;
    if (this.#remaining < 0)
      throw new LimitError(
        `Cannot read on: more than ${this.#limits.maxTrailerBytes} bytes follow the end of the tar`,
        "maxTrailerBytes",
      );
    return chunk.length;
  }

  #setRemaining(header: TarHeader): void {
    this.#remaining = this.#sizeOf(header);
    this.#padding = paddingOf(this.#remaining);
    if (this.#remaining > 0) this.#state = "skip";
  }

  #sizeOf(header: TarHeader): number {
    if (header.sizeBytes >= 0) return header.sizeBytes;
    throw new LayerError(`Cannot read ${this.#where()}: its size is negative`);
  }

  #toPadding(): void {
    this.#state = this.#padding > 0 ? "padding" : "header";
  }

  /** Refuses what is too large before its first byte is read. */
  #count(sizeBytes: number): void {
    this.#expandedBytes += BLOCK_BYTES + Math.max(0, sizeBytes);
    if (this.#expandedBytes > this.#limits.maxExpandedBytes)
      throw new LimitError(
        `Cannot read ${this.#where()}: with it the layer has more than ` +
          `${this.#limits.maxExpandedBytes} bytes`,
        "maxExpandedBytes",
      );
  }

  #where(): string {
    return this.#metadata.where(this.#header, this.#entryOffset);
  }
}

/** For callers that hold a whole archive in memory. */
export function readTar(bytes: Uint8Array, sink: TarSink, limits?: LayerLimits): void {
  const reader = new TarReader(sink, limits);
  reader.push(bytes);
  reader.finish();
}

function paddingOf(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}
