/**
 * Blobs: one ordered, verified stream, whatever breaks on the way.
 *
 *   verified ◄── resumed after breaks ◄── one range at a time, or several at once ◄── HTTP
 *
 * Distribution-spec 1.1, "Pulling blobs"; ranges: RFC 9110 §14. Each attempt starts at the
 * registry, since the storage URL that it redirects to may have expired.
 */
import { type Descriptor, digestAlgorithm, isForeignLayer } from "../oci/index.ts";
import { ContentError } from "./content-error.ts";
import { discardBody } from "./http/body.ts";
import type { ByteSource } from "./http/byte-source.ts";
import { ConnectionError } from "./http/connection-error.ts";
import type { ExchangeResult } from "./http/exchange.ts";
import { parallelSource } from "./parallel.ts";
import { RegistryError, registryError } from "./registry-error.ts";
import { contextOf, pullFromEach, type Repository, scopeOf } from "./repository.ts";
import { waitForRetry } from "./retry.ts";
import { createHasher, type Hasher, sizeError, verifySource } from "./verify.ts";

export interface BlobOptions {
  readonly signal: AbortSignal;
  /** Where to start; the bytes before it are there already. */
  readonly offset?: number;
  /** A hash that was fed the bytes before `offset`; without it a resumed blob is not verified. */
  readonly hasher?: Hasher;
  /**
   * How many ranges of a large blob to fetch at once; 1 fetches it in one piece. Default: 4, and 1
   * from loopback, where more cost more than they gain.
   */
  readonly connections?: number;
}

/** Less is not worth a second connection. */
export const MIN_PARALLEL_BYTES = 32 * 1024 * 1024;
/** `connections` of these are in memory at most. */
export const PART_BYTES = 4 * 1024 * 1024;
export const MAX_CONNECTIONS = 16;
const DEFAULT_CONNECTIONS = 4;

export function blobSource(
  repository: Repository,
  descriptor: Descriptor,
  { signal, offset = 0, hasher, connections = defaultConnections(repository) }: BlobOptions,
): ByteSource {
  const { digest, size } = descriptor;
  if (offset < 0 || offset > size)
    throw new RangeError(`Offset ${offset} is not within 0 to ${size}`);
  const isParallel = connections > 1 && size - offset >= MIN_PARALLEL_BYTES;
  const open = (start: number, end: number, abort: AbortSignal) =>
    resumedSource(repository, descriptor, start, end, abort);
  const source = isParallel
    ? parallelSource({
        open,
        start: offset,
        end: size,
        partBytes: PART_BYTES,
        connections: Math.min(connections, MAX_CONNECTIONS),
        signal,
      })
    : open(offset, size, signal);
  const ownHasher = offset === 0 ? createHasher(digestAlgorithm(digest)) : hasher;
  const { emit } = contextOf(repository);
  const verified = verifySource(source, descriptor, { offset, hasher: ownHasher });
  return reported(skippingLiars(repository, verified), offset, (doneBytes) =>
    emit({ type: "download", digest, doneBytes, totalBytes: size }),
  );
}

/** After wrong content, whoever tries again shall get it from the registry itself. */
function skippingLiars({ mirrors }: Repository, source: ByteSource): ByteSource {
  const read = () =>
    source.read().catch((error: unknown) => {
      if (error instanceof ContentError) for (const { session } of mirrors) session.skip();
      throw error;
    });
  return mirrors.length === 0 ? source : { ...source, read };
}

function defaultConnections({ session, mirrors }: Repository): number {
  const [first = session] = mirrors.map((mirror) => mirror.session);
  return first.isLoopback ? 1 : DEFAULT_CONNECTIONS;
}

function reported(
  source: ByteSource,
  offset: number,
  report: (doneBytes: number) => void,
): ByteSource {
  let doneBytes = offset;
  return {
    read: async () => {
      const chunk = await source.read();
      doneBytes += chunk?.length ?? 0;
      if (chunk !== undefined) report(doneBytes);
      return chunk;
    },
    cancel: source.cancel,
  };
}

/** A source of part of a blob, and whether the server gives ranges. */
export interface PartSource extends ByteSource {
  /** Settles once the server has answered; false: it sends the whole blob each time. */
  readonly hasRange: () => Promise<boolean>;
}

/**
 * Bytes from `start` to `end` (exclusive). When the connection breaks, or ends early, it goes on
 * where it was.
 */
export function resumedSource(
  repository: Repository,
  descriptor: Descriptor,
  start: number,
  end: number,
  signal: AbortSignal,
): PartSource {
  const context = contextOf(repository);
  const action = `fetch the blob "${descriptor.digest}" of "${repository.name}"`;
  const retry = { policy: context.retry, action, emit: context.emit, signal };
  let position = start;
  let failures = 0;
  let current: OpenedBlob | undefined;

  const fail = async (error: unknown): Promise<void> => {
    await current?.source.cancel(error);
    current = undefined;
    failures++;
    const isLast = failures >= context.retry.attempts;
    if (isLast && isEarlyEnd(error)) throw sizeError(descriptor, position);
    await waitForRetry(error, failures, retry);
  };
  const open = async (): Promise<OpenedBlob> => {
    for (;;) {
      try {
        current ??= await openBlob(repository, descriptor, position, end, action, signal);
        return current;
      } catch (error) {
        await fail(error);
      }
    }
  };
  const read = async (): Promise<Uint8Array | undefined> => {
    // A part that ends before its blob is cut here; the blob's own end is verified above.
    const isCut = end < descriptor.size;
    for (;;) {
      if (position === end && current === undefined) return undefined;
      const opened = await open();
      try {
        const chunk = await opened.source.read();
        if (chunk === undefined && position < end) {
          throw new ConnectionError(repository.session.host, "broken");
        }
        if (chunk === undefined || (isCut && position === end)) {
          // A server that ignores ranges would go on to the end of the blob.
          if (chunk !== undefined) await opened.source.cancel();
          current = undefined;
          return undefined;
        }
        const wanted = isCut ? chunk.subarray(0, end - position) : chunk;
        position += wanted.length;
        failures = 0;
        return wanted;
      } catch (error) {
        await fail(error);
      }
    }
  };
  return {
    read,
    cancel: async (reason) => current?.source.cancel(reason),
    hasRange: async () => (await open()).hasRange,
  };
}

/** The server closed properly, only too soon: there is no cause from below. */
function isEarlyEnd(error: unknown): boolean {
  return (
    error instanceof ConnectionError && error.problem === "broken" && error.cause === undefined
  );
}

interface OpenedBlob {
  readonly source: ByteSource;
  readonly hasRange: boolean;
}

async function openBlob(
  repository: Repository,
  descriptor: Descriptor,
  start: number,
  end: number,
  action: string,
  signal: AbortSignal,
): Promise<OpenedBlob> {
  const wantsRange = start > 0 || end < descriptor.size;
  const headers = wantsRange ? { range: `bytes=${start}-${end - 1}` } : {};
  return pullFromEach(repository, signal, async (place) => {
    const response = await requestBlob(place, descriptor, headers, action, signal);
    return acceptBlob(response, descriptor, start, wantsRange);
  });
}

async function requestBlob(
  repository: Repository,
  descriptor: Descriptor,
  headers: Readonly<Record<string, string>>,
  action: string,
  signal: AbortSignal,
): Promise<ExchangeResult> {
  try {
    return await repository.session.send({
      action,
      method: "GET",
      target: `${repository.path}/blobs/${descriptor.digest}`,
      scopes: [scopeOf(repository.path, "pull")],
      headers,
      expected: [200, 206, 416],
      // Whoever reads the body retries, counting failures before and in it alike.
      retries: false,
      signal,
    });
  } catch (error) {
    const url = foreignUrl(error, descriptor);
    if (url === undefined) throw error;
    const response = await repository.session.sendElsewhere(url, headers, signal);
    if ([200, 206, 416].includes(response.status)) return response;
    throw await registryError(action, response, repository.session.server);
  }
}

/** Where a layer is that the registry may not hold: only those, only over TLS. */
function foreignUrl(error: unknown, { mediaType, urls = [] }: Descriptor): URL | undefined {
  if (!(error instanceof RegistryError) || error.failure.problem !== "not-found") return undefined;
  if (!isForeignLayer(mediaType)) return undefined;
  const text = urls.find((each) => each.startsWith("https://") && URL.canParse(each));
  return text === undefined ? undefined : new URL(text);
}

async function acceptBlob(
  response: ExchangeResult,
  descriptor: Descriptor,
  start: number,
  wantsRange: boolean,
): Promise<OpenedBlob> {
  const refuse = async (error: ContentError): Promise<never> => {
    await response.body.cancel();
    throw error;
  };
  if (response.status === 416) {
    await discardBody(response.body);
    throw sizeError(descriptor, start, "at most ");
  }
  if (response.status === 206 && wantsRange) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    const total = range?.[2] ?? "*";
    if (total !== "*" && Number(total) !== descriptor.size) {
      return refuse(sizeError(descriptor, Number(total)));
    }
    if (range !== null && Number(range[1]) === start)
      return { source: response.body, hasRange: true };
    const found = `the range "${response.headers.get("content-range") ?? ""}"`;
    const expected = `bytes from ${start} on`;
    return refuse(new ContentError({ digest: descriptor.digest, found, expected }));
  }
  const length = response.headers.get("content-length");
  if (length !== undefined && Number(length) !== descriptor.size) {
    return refuse(sizeError(descriptor, Number(length)));
  }
  return { source: skipBytes(response.body, start), hasRange: !wantsRange };
}

/** A server that knows no ranges sends everything again. */
function skipBytes(source: ByteSource, count: number): ByteSource {
  let left = count;
  if (left === 0) return source;
  return {
    read: async () => {
      for (;;) {
        const chunk = await source.read();
        if (chunk === undefined || left === 0) return chunk;
        const rest = chunk.subarray(Math.min(left, chunk.length));
        left -= chunk.length - rest.length;
        if (rest.length > 0) return rest;
      }
    },
    cancel: source.cancel,
  };
}
