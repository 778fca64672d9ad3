/**
 * Several ranges of one blob at once, read in order.
 *
 *   parts   │ 0 being read │ 1 fetched ahead │ 2 fetched ahead │ … not asked for yet
 *
 * Storage hosts limit what one connection gets; a few connections get more. Parts ahead of the
 * reader wait in memory, `connections` × `partBytes` at most. Hashing and unpacking see one stream.
 */
import type { PartSource } from "./blobs.ts";
import type { ByteSource } from "./http/byte-source.ts";

export interface ParallelOptions {
  readonly open: (start: number, end: number, signal: AbortSignal) => PartSource;
  readonly start: number;
  readonly end: number;
  readonly partBytes: number;
  readonly connections: number;
  readonly signal: AbortSignal;
}

export function parallelSource(options: ParallelOptions): ByteSource {
  const abort = new AbortController();
  const signal = AbortSignal.any([options.signal, abort.signal]);
  const parts: ByteSource[] = [];
  let nextStart = options.start;

  const openPart = (): PartSource => {
    const start = nextStart;
    nextStart = Math.min(start + options.partBytes, options.end);
    return options.open(start, nextStart, signal);
  };
  /** The first part alone shows whether the server knows ranges; else one request gets it all. */
  const begin = async (): Promise<void> => {
    const first = openPart();
    if (await first.hasRange()) {
      parts.push(fetchAhead(first));
      return;
    }
    await first.cancel();
    parts.push(options.open(options.start, options.end, signal));
    nextStart = options.end;
  };
  return {
    read: async () => {
      if (nextStart === options.start) await begin();
      for (;;) {
        while (parts.length < options.connections && nextStart < options.end) {
          parts.push(fetchAhead(openPart()));
        }
        const [head] = parts;
        if (head === undefined) return undefined;
        const chunk = await head.read();
        if (chunk !== undefined) return chunk;
        parts.shift();
      }
    },
    cancel: (reason) => {
      abort.abort(reason ?? new Error("The reader cancelled the blob"));
      parts.length = 0;
      return Promise.resolve();
    },
  };
}

/** Reads a source to its end into memory, as fast as it comes. */
function fetchAhead(source: ByteSource): ByteSource {
  const chunks: Uint8Array[] = [];
  let end: { readonly error?: unknown } | undefined;
  let wake: () => void = () => {};
  const fetch = async (): Promise<void> => {
    try {
      for (;;) {
        const chunk = await source.read();
        if (chunk === undefined) break;
        chunks.push(chunk);
        wake();
      }
      end = {};
    } catch (error) {
      end = { error };
    }
    wake();
  };
  void fetch();
  return {
    read: async () => {
      while (chunks.length === 0 && end === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const chunk = chunks.shift();
      if (chunk === undefined && end !== undefined && "error" in end) throw end.error;
      return chunk;
    },
    cancel: source.cancel,
  };
}
