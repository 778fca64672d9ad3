/**
 * The registry client: pull and push by OCI distribution-spec 1.1 and Docker's registry API v2.
 * It knows nothing of stores; bytes go out as streams and come in as functions that open them.
 */
import {
  DEFAULT_TAG,
  type Descriptor,
  type Digest,
  hostPlatform,
  type ImageReference,
  type Platform,
  parseManifest,
  repositoryName,
} from "../oci/index.ts";
import type { FindCredentials } from "./auth/credentials.ts";
import { dockerConfigPath } from "./auth/docker-config.ts";
import { dockerCredentials } from "./auth/find-credentials.ts";
import { type BlobOptions, blobSource } from "./blobs.ts";
import { endpointCandidates, parseMirror } from "./endpoint.ts";
import type { RegistryEvent } from "./events.ts";
import { type FetchRangesOptions, fetchRanges, type WriteAt } from "./fetch-ranges.ts";
import { discardBody } from "./http/body.ts";
import { toStream } from "./http/byte-source.ts";
import { type HttpClient, openHttpClient } from "./http/http-client.ts";
import { compileProxies, type ProxySettings, proxySettings } from "./http/proxies.ts";
import {
  addReferrer,
  type ListTagsOptions,
  listReferrers,
  listTags,
  type ReferrersOptions,
} from "./listing.ts";
import { type LoginOptions, type LoginResult, login, logout } from "./login.ts";
import {
  deleteManifest,
  type FetchedManifest,
  fetchManifest,
  lookUpManifest,
  putManifest,
  type ResolvedImage,
  resolveImage,
} from "./manifests.ts";
import { type OpenBlob, type PushBlobOptions, type PushOutcome, pushBlob } from "./push.ts";
import type { Repository } from "./repository.ts";
import { defaultRetryPolicy, type RetryPolicy } from "./retry.ts";
import { type ClientContext, RegistrySession } from "./session.ts";

export interface RegistryClientOptions {
  /** docker's config.json; default: `$DOCKER_CONFIG` or `~/.docker`. */
  readonly configPath?: string;
  /** Replaces config.json as the source of credentials. */
  readonly findCredentials?: FindCredentials;
  /** Domain → mirrors (`https://host/prefix`), asked in order before the registry itself. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** `host`, `host:port` or `10.0.0.0/8`: may speak plain HTTP or show any certificate. */
  readonly insecure?: readonly string[];
  /** Further certificate authorities, in PEM. */
  readonly ca?: readonly string[];
  /** docker's and podman's directories of certificates per registry; default: those in /etc. */
  readonly certificateDirectories?: readonly string[];
  /** Default: HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment. */
  readonly proxies?: ProxySettings;
  readonly retry?: Partial<RetryPolicy>;
  /** How long the network may stand still. */
  readonly idleTimeoutMs?: number;
  readonly onEvent?: (event: RegistryEvent) => void;
}

/** A repository anywhere; an ImageReference is one. */
export type RepositoryReference = Pick<ImageReference, "domain" | "repository">;

interface WithSignal {
  readonly signal: AbortSignal;
}

export interface PushManifestOptions extends WithSignal {
  /** Absent: stored under its digest only. */
  readonly tag?: string;
}

// Not from certificates.ts, which loads TLS.
const defaultCertificateDirectories = ["/etc/containers/certs.d", "/etc/docker/certs.d"] as const;
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

export function openRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  return new RegistryClient(options);
}

export class RegistryClient implements AsyncDisposable {
  readonly #context: ClientContext;
  readonly #configPath: string;
  readonly #mirrors: Readonly<Record<string, readonly string[]>>;
  readonly #sessions = new Map<string, RegistrySession>();
  readonly #mirrorSessions = new Map<string, RegistrySession>();
  readonly #openCredentials: () => FindCredentials;
  #findCredentials: FindCredentials;
  #http: Promise<HttpClient> | undefined;

  constructor(options: RegistryClientOptions) {
    const emit = options.onEvent ?? (() => {});
    const certificates = {
      ca: options.ca ?? [],
      directories: options.certificateDirectories ?? defaultCertificateDirectories,
    };
    const proxyFor = compileProxies(options.proxies ?? proxySettings(process.env));
    this.#configPath = options.configPath ?? dockerConfigPath();
    this.#mirrors = options.mirrors ?? {};
    this.#openCredentials = () =>
      options.findCredentials ?? dockerCredentials(this.#configPath, emit);
    this.#findCredentials = this.#openCredentials();
    this.#context = {
      client: () => {
        this.#http ??= openHttpClient({ certificates, proxyFor });
        return this.#http;
      },
      findCredentials: (server, wait) => this.#findCredentials(server, wait),
      endpoints: { insecure: options.insecure ?? [] },
      retry: { ...defaultRetryPolicy, ...options.retry },
      idleTimeoutMs: options.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS,
      emit,
    };
  }

  /** Finds the image that a reference names for a platform (default: this machine's). */
  resolve(
    reference: ImageReference,
    { platform = hostPlatform(), signal }: WithSignal & { readonly platform?: Platform },
  ): Promise<ResolvedImage> {
    return resolveImage(this.#repository(reference), tagOrDigest(reference), platform, signal);
  }

  /** Fetches what a reference names, an index as well, without choosing a platform. */
  fetchManifest(reference: ImageReference, { signal }: WithSignal): Promise<FetchedManifest> {
    return fetchManifest(this.#repository(reference), tagOrDigest(reference), signal);
  }

  /** What a reference names at the moment, by HEAD; undefined where the registry does not say. */
  lookUp(reference: ImageReference, { signal }: WithSignal): Promise<Descriptor | undefined> {
    return lookUpManifest(this.#repository(reference), tagOrDigest(reference), signal);
  }

  /** A blob's bytes in order, resumed after breaks, verified while they flow. */
  fetchBlob(
    repository: RepositoryReference,
    descriptor: Descriptor,
    options: BlobOptions,
  ): ReadableStream<Uint8Array> {
    return toStream(blobSource(this.#repository(repository), descriptor, options));
  }

  /** Parts of a blob in any order, not verified. */
  fetchRanges(
    repository: RepositoryReference,
    descriptor: Descriptor,
    write: WriteAt,
    options: FetchRangesOptions,
  ): Promise<void> {
    return fetchRanges(this.#repository(repository), descriptor, write, options);
  }

  pushBlob(
    repository: RepositoryReference,
    descriptor: Descriptor,
    open: OpenBlob,
    options: PushBlobOptions,
  ): Promise<PushOutcome> {
    return pushBlob(this.#repository(repository), descriptor, open, options);
  }

  /** Pushes a manifest or index after everything it names; keeps the referrers tag in order. */
  async pushManifest(
    repository: RepositoryReference,
    bytes: Uint8Array,
    mediaType: string,
    { tag, signal }: PushManifestOptions,
  ): Promise<Digest> {
    const manifest = parseManifest(bytes, mediaType);
    const place = this.#repository(repository);
    const { digest, handlesSubject } = await putManifest(place, bytes, mediaType, tag, signal);
    if (manifest.kind === "image" && manifest.subject !== undefined && !handlesSubject) {
      const descriptor = { mediaType, digest, size: bytes.length };
      await addReferrer(place, manifest.subject.digest, { descriptor, manifest }, signal);
    }
    return digest;
  }

  listTags(repository: RepositoryReference, options: ListTagsOptions): AsyncIterable<string> {
    return listTags(this.#repository(repository), options);
  }

  referrers(
    repository: RepositoryReference,
    subject: Digest,
    options: ReferrersOptions,
  ): Promise<readonly Descriptor[]> {
    return listReferrers(this.#repository(repository), subject, options);
  }

  /** Deletes a manifest; by tag where the registry allows that. */
  delete(reference: ImageReference, { signal }: WithSignal): Promise<void> {
    return deleteManifest(this.#repository(reference), tagOrDigest(reference), signal);
  }

  /** Succeeds when the domain is a registry that lets us in. */
  async ping(domain: string, { signal }: WithSignal): Promise<void> {
    const response = await this.#session(domain).send({
      action: `talk to the registry "${domain}"`,
      method: "GET",
      target: "",
      scopes: [],
      expected: [200],
      signal,
    });
    await discardBody(response.body);
  }

  /** Checks a login with the registry and stores it where docker does. */
  async login(domain: string, options: LoginOptions): Promise<LoginResult> {
    const result = await login(domain, options, this.#context, this.#configPath);
    this.#forget(domain);
    return result;
  }

  async logout(domain: string, { signal }: WithSignal): Promise<void> {
    await logout(domain, { signal, configPath: this.#configPath, emit: this.#context.emit });
    this.#forget(domain);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const http = this.#http;
    this.#http = undefined;
    if (http !== undefined) await (await http)[Symbol.asyncDispose]();
  }

  /** After login and logout, what was known of a registry and its credentials is out of date. */
  #forget(domain: string): void {
    this.#sessions.delete(domain);
    this.#findCredentials = this.#openCredentials();
  }

  #repository(reference: RepositoryReference): Repository {
    const { domain, repository } = reference;
    const name = repositoryName(reference);
    const mirrors = (this.#mirrors[domain] ?? []).map((mirror) => {
      const { candidates, prefix } = parseMirror(mirror, this.#context.endpoints);
      const session =
        this.#mirrorSessions.get(mirror) ??
        // Mirrors that serve several registries learn from `ns` which one is meant.
        new RegistrySession(candidates, this.#context, { ns: domain });
      this.#mirrorSessions.set(mirror, session);
      return { session, path: `${prefix}${repository}`, name, mirrors: [] };
    });
    return { session: this.#session(domain), path: repository, name, mirrors };
  }

  #session(domain: string): RegistrySession {
    const known = this.#sessions.get(domain);
    if (known !== undefined) return known;
    const candidates = endpointCandidates(domain, this.#context.endpoints);
    const session = new RegistrySession(candidates, this.#context);
    this.#sessions.set(domain, session);
    return session;
  }
}

function tagOrDigest({ tag, digest }: ImageReference): string {
  return digest ?? tag ?? DEFAULT_TAG;
}
