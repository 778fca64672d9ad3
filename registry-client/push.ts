/**
 * Pushing blobs: not at all when the registry has them, mounted from another repository, in one
 * request, or in resumable pieces.
 *
 *   HEAD blob ─ 200 ─► exists
 *   POST uploads/?mount&from ─ 201 ─► mounted
 *        └ 202 Location ─► PUT Location?digest (whole)                       ─ 201 ─► uploaded
 *                       └► PATCH Location (piece) … PUT Location?digest ()   ─ 201 ─► uploaded
 *
 * Distribution-spec 1.1, "Pushing blobs". A broken PATCH is followed by GET Location, whose Range
 * tells how much arrived. Distribution 2.8 forgets an upload that broke within a piece: its address
 * holds the offset before the piece, which then no longer matches. Such a blob is sent again.
 */
import type { Descriptor } from "../oci/index.ts";
import { discardBody } from "./http/body.ts";
import { type ByteSource, fromStream } from "./http/byte-source.ts";
import type { ExchangeResult } from "./http/exchange.ts";
import { RegistryError } from "./registry-error.ts";
import { contextOf, type Repository, scopeOf } from "./repository.ts";
import { isTransient, waitForRetry, withRetry } from "./retry.ts";
import type { RegistryRequest } from "./session.ts";
import { sizeError } from "./verify.ts";

export type PushOutcome = "exists" | "mounted" | "uploaded";

export interface PushBlobOptions {
  readonly signal: AbortSignal;
  /** Repository of the same registry that has the blob, perhaps. */
  readonly mountFrom?: string;
  /** Larger blobs go in pieces of this size. */
  readonly chunkBytes?: number;
}

/** Opens the blob's bytes from the start; called again when an upload must be repeated. */
export type OpenBlob = () => ReadableStream<Uint8Array> | Promise<ReadableStream<Uint8Array>>;

const DEFAULT_CHUNK_BYTES = 64 * 1024 * 1024;

export async function pushBlob(
  repository: Repository,
  descriptor: Descriptor,
  open: OpenBlob,
  { signal, mountFrom, chunkBytes = DEFAULT_CHUNK_BYTES }: PushBlobOptions,
): Promise<PushOutcome> {
  const upload = new Upload(repository, descriptor, open, signal);
  if (await upload.exists()) return "exists";
  const location = await upload.start(mountFrom);
  if (location === undefined) return "mounted";
  if (descriptor.size <= Math.max(chunkBytes, location.minChunkBytes)) await upload.whole(location);
  else await upload.pieces(location, chunkBytes);
  return "uploaded";
}

interface UploadLocation {
  readonly url: URL;
  /** What the registry wants a piece to have at least (header OCI-Chunk-Min-Length). */
  readonly minChunkBytes: number;
}

/** Statuses by which registries say that they take no pieces. */
const NO_PIECES = new Set([400, 404, 405, 411, 413, 415, 416, 501]);

class Upload {
  readonly #repository: Repository;
  readonly #descriptor: Descriptor;
  readonly #open: OpenBlob;
  readonly #signal: AbortSignal;
  readonly #action: string;

  constructor(repository: Repository, descriptor: Descriptor, open: OpenBlob, signal: AbortSignal) {
    this.#repository = repository;
    this.#descriptor = descriptor;
    this.#open = open;
    this.#signal = signal;
    this.#action = `push the blob "${descriptor.digest}" to "${repository.name}"`;
  }

  async exists(): Promise<boolean> {
    const response = await this.#send({
      method: "HEAD",
      target: `${this.#repository.path}/blobs/${this.#descriptor.digest}`,
      expected: [200, 404],
    });
    await discardBody(response.body);
    return response.status === 200;
  }

  /** Opens an upload; undefined when the blob could be mounted instead. */
  async start(mountFrom?: string): Promise<UploadLocation | undefined> {
    const { path } = this.#repository;
    const target = `${path}/blobs/uploads/`;
    if (mountFrom === undefined)
      return this.#accept(await this.#send({ method: "POST", target, expected: [202] }));
    const query = new URLSearchParams({ mount: this.#descriptor.digest, from: mountFrom });
    try {
      const response = await this.#send({
        method: "POST",
        target: `${target}?${query}`,
        scopes: [scopeOf(path, "pull,push"), scopeOf(mountFrom, "pull")],
        expected: [201, 202],
      });
      if (response.status === 202) return this.#accept(response);
      await discardBody(response.body);
      return undefined;
    } catch (error) {
      // Who may not read the other repository can still upload.
      if (!(error instanceof RegistryError) || isTransient(error)) throw error;
      return this.#accept(await this.#send({ method: "POST", target, expected: [202] }));
    }
  }

  /** One PUT; a broken one is repeated as a new upload. */
  async whole(first: UploadLocation): Promise<void> {
    let location: UploadLocation | undefined = first;
    const { retry: policy, emit } = contextOf(this.#repository);
    const attempt = async () => {
      // The PUT may have worked although its answer was lost.
      if (location === undefined && (await this.exists())) return;
      const current = location ?? (await this.start());
      location = undefined;
      if (current === undefined) return;
      const source = await this.#openAt(0);
      const { size } = this.#descriptor;
      try {
        await this.#finish(current.url, this.#reported(source, 0, size), size);
      } finally {
        await source.cancel();
      }
    };
    // A token may expire on the way; the session has learnt from the refusal.
    const renewed = () =>
      attempt().catch((error) => (isUnauthorized(error) ? attempt() : reject(error)));
    await withRetry(renewed, { policy, action: this.#action, emit, signal: this.#signal });
  }

  /** PATCH after PATCH; after a break it asks how much arrived and goes on there. */
  async pieces(first: UploadLocation, chunkBytes: number): Promise<void> {
    const { size } = this.#descriptor;
    const { retry: policy, emit } = contextOf(this.#repository);
    const retry = { policy, action: this.#action, emit, signal: this.#signal };
    const pieceBytes = Math.max(chunkBytes, first.minChunkBytes);
    let { url } = first;
    let position = 0;
    let failures = 0;
    let reader: PieceReader | undefined;
    while (position < size) {
      const length = Math.min(pieceBytes, size - position);
      try {
        reader ??= new PieceReader(await this.#openAt(position));
        const response = await this.#patch(url, reader, position, length);
        url = this.#repository.session.locate(response, this.#action);
        const stored = storedBytes(response) ?? position + length;
        if (stored !== position + length) reader = await reader.drop();
        // One that never has more than before would be asked for ever.
        if (stored <= position) return this.#startAgain();
        position = stored;
        failures = 0;
      } catch (error) {
        reader = await reader?.drop();
        if (refusesPieces(error, position)) return this.#startAgain();
        failures++;
        // A token may expire between pieces; the session has learnt from the refusal.
        const isRenewal = isUnauthorized(error) && failures === 1;
        if (!isRenewal) await waitForRetry(error, failures, retry);
        const status = await this.#status(url);
        if (status === undefined) return this.#startAgain();
        ({ url, position } = status);
      }
    }
    await reader?.drop();
    await this.#complete(url);
  }

  async #startAgain(): Promise<void> {
    const location = await this.start();
    if (location !== undefined) await this.whole(location);
  }

  /** The closing PUT; when the pieces did not add up, the blob is sent once more as a whole. */
  async #complete(url: URL): Promise<void> {
    try {
      await this.#finish(url, undefined, 0);
    } catch (error) {
      const isRefused = error instanceof RegistryError && error.failure.status === 400;
      if (!isTransient(error) && !isRefused) throw error;
      if (!(await this.exists())) await this.#startAgain();
    }
  }

  async #patch(
    url: URL,
    reader: PieceReader,
    position: number,
    length: number,
  ): Promise<ExchangeResult> {
    const response = await this.#send({
      method: "PATCH",
      target: url,
      headers: {
        "content-type": "application/octet-stream",
        // Distribution-spec 1.1: both ends included, and no unit.
        "content-range": `${position}-${position + length - 1}`,
        "content-length": String(length),
      },
      body: () => ({
        source: this.#reported(reader.piece(length), position, position + length),
        sizeBytes: length,
      }),
      expected: [202, 201, 204],
      retries: false,
      isBodySpent: true,
    });
    await discardBody(response.body);
    return response;
  }

  async #finish(url: URL, source: ByteSource | undefined, length: number): Promise<void> {
    const target = new URL(url);
    target.searchParams.set("digest", this.#descriptor.digest);
    const response = await this.#send({
      method: "PUT",
      target,
      headers: { "content-type": "application/octet-stream", "content-length": String(length) },
      body: () => (source === undefined ? new Uint8Array(0) : { source, sizeBytes: length }),
      expected: [201, 204],
      retries: false,
      isBodySpent: source !== undefined,
    });
    await discardBody(response.body);
  }

  /** How much of the upload arrived; undefined when the registry has forgotten it. */
  async #status(url: URL): Promise<{ readonly url: URL; readonly position: number } | undefined> {
    try {
      const response = await this.#send({ method: "GET", target: url, expected: [204, 200, 202] });
      await discardBody(response.body);
      const hasLocation = response.headers.has("location");
      const next = hasLocation ? this.#repository.session.locate(response, this.#action) : url;
      return { url: next, position: storedBytes(response) ?? 0 };
    } catch (error) {
      if (error instanceof RegistryError && !isTransient(error)) return undefined;
      throw error;
    }
  }

  async #accept(response: ExchangeResult): Promise<UploadLocation> {
    await discardBody(response.body);
    const url = this.#repository.session.locate(response, this.#action);
    const minimum = response.headers.get("oci-chunk-min-length") ?? "0";
    return { url, minChunkBytes: /^\d{1,10}$/.test(minimum) ? Number(minimum) : 0 };
  }

  async #openAt(position: number): Promise<ByteSource> {
    const source = fromStream(await this.#open());
    let left = position;
    while (left > 0) {
      const chunk = await source.read();
      if (chunk === undefined) throw sizeError(this.#descriptor, position - left);
      const rest = chunk.subarray(Math.min(left, chunk.length));
      left -= chunk.length - rest.length;
      if (rest.length > 0) return withFirst(rest, source);
    }
    return source;
  }

  /** Counts what is sent, and refuses a source that is not as long as its descriptor says. */
  #reported(source: ByteSource, start: number, end: number): ByteSource {
    const { digest, size } = this.#descriptor;
    const { emit } = contextOf(this.#repository);
    let doneBytes = start;
    return {
      read: async () => {
        const chunk = await source.read();
        if (chunk === undefined && doneBytes < end) throw sizeError(this.#descriptor, doneBytes);
        doneBytes += chunk?.length ?? 0;
        if (doneBytes > end) throw sizeError(this.#descriptor, doneBytes, "at least ");
        if (chunk !== undefined) emit({ type: "upload", digest, doneBytes, totalBytes: size });
        return chunk;
      },
      cancel: source.cancel,
    };
  }

  #send(
    request: Pick<RegistryRequest, "method" | "target" | "expected"> & Partial<RegistryRequest>,
  ): Promise<ExchangeResult> {
    const isEmptyPost = request.method === "POST" && request.body === undefined;
    return this.#repository.session.send({
      action: this.#action,
      scopes: [scopeOf(this.#repository.path, "pull,push")],
      // Some registries refuse a POST that does not say it is empty.
      ...(isEmptyPost ? { headers: { "content-length": "0" } } : {}),
      signal: this.#signal,
      ...request,
    });
  }
}

/** Hands out one stream in pieces. */
class PieceReader {
  readonly #source: ByteSource;
  #rest: Uint8Array | undefined;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  piece(length: number): ByteSource {
    let left = length;
    return {
      read: async () => {
        if (left === 0) return undefined;
        const chunk = this.#rest ?? (await this.#source.read());
        this.#rest = undefined;
        if (chunk === undefined) return undefined;
        const taken = chunk.subarray(0, left);
        if (taken.length < chunk.length) this.#rest = chunk.subarray(taken.length);
        left -= taken.length;
        return taken;
      },
      // The stream goes on after this piece.
      cancel: () => Promise.resolve(),
    };
  }

  async drop(): Promise<undefined> {
    await this.#source.cancel();
  }
}

function withFirst(first: Uint8Array, source: ByteSource): ByteSource {
  let pending: Uint8Array | undefined = first;
  return {
    read: () => {
      const chunk = pending;
      pending = undefined;
      return chunk === undefined ? source.read() : Promise.resolve(chunk);
    },
    cancel: source.cancel,
  };
}

/** `Range: 0-99` → 100; `0-0` is how an empty upload is written. */
function storedBytes(response: ExchangeResult): number | undefined {
  const last = /^(?:bytes[ =])?0-(\d{1,15})$/.exec(response.headers.get("range") ?? "")?.[1];
  if (last === undefined) return undefined;
  return last === "0" ? 0 : Number(last) + 1;
}

function isUnauthorized(error: unknown): boolean {
  return error instanceof RegistryError && error.failure.problem === "unauthorized";
}

function reject(error: unknown): never {
  throw error;
}

function refusesPieces(error: unknown, position: number): boolean {
  if (!(error instanceof RegistryError)) return false;
  const { status } = error.failure;
  return NO_PIECES.has(status) && (position === 0 || status === 416);
}
