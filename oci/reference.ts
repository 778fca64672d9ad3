/**
 * Image references as docker writes them: `busybox`, `ghcr.io/a/b:1.2@sha256:…`.
 *
 *   reference = [domain "/"] path [":" tag] ["@" digest]
 *
 * Grammar: distribution "reference" package, cited in distribution-spec 1.1 "Pulling manifests".
 * Normal form: no domain means docker.io, and there one component means `library/`.
 */
import { type Digest, parseDigest } from "./digest.ts";
import { quoteText, SpecError } from "./spec-error.ts";

export interface ImageReference {
  /** Host and port as written: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string;
  /** Path within the registry: `library/busybox`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

export const DEFAULT_DOMAIN = "docker.io";
export const DEFAULT_TAG = "latest";
const LEGACY_DEFAULT_DOMAIN = "index.docker.io";
const OFFICIAL_PREFIX = "library/";

const MAX_REFERENCE_LENGTH = 1024;
const MAX_REPOSITORY_LENGTH = 255;

const label = "(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)";
const domainPattern = new RegExp(`^(?:${label}(?:\\.${label})*|\\[[0-9A-Fa-f:]+\\])(?::[0-9]+)?$`);
const component = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const imageIdPattern = /^[0-9a-f]{64}$/;

/** Parses and normalises; without tag and digest, the tag is `latest`. */
export function parseReference(text: string): ImageReference {
  const reference = parseRepositoryReference(text);
  if (reference.tag !== undefined || reference.digest !== undefined) return reference;
  return { ...reference, tag: DEFAULT_TAG };
}

/** Parses and normalises, and leaves tag and digest out when the text has none. */
export function parseRepositoryReference(text: string): ImageReference {
  if (text === "") throw bad(text, 'expected a name such as "busybox"');
  if (text.length > MAX_REFERENCE_LENGTH) {
    throw bad(text, `it has ${text.length} characters, expected at most ${MAX_REFERENCE_LENGTH}`);
  }
  // A 64-digit name would be taken for an image ID.
  if (imageIdPattern.test(text)) throw bad(text, "expected a name, not an image ID");
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : readDigest(text, text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);
  // A colon before the last slash belongs to a port or to an IPv6 address.
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : checkTag(text, named.slice(colon + 1));
  const name = splitDomain(colon < 0 ? named : named.slice(0, colon));
  checkName(text, name.domain, name.repository);
  return {
    ...name,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/** The complete form: `docker.io/library/busybox:latest`. */
export function formatReference(reference: ImageReference): string {
  return `${repositoryName(reference)}${suffix(reference)}`;
}

/** The form docker shows: `busybox:latest`. */
export function familiarReference(reference: ImageReference): string {
  return `${familiarName(reference)}${suffix(reference)}`;
}

/** Domain and path: `docker.io/library/busybox`. */
export function repositoryName({ domain, repository }: ImageReference): string {
  return `${domain}/${repository}`;
}

/** Domain and path as docker shows them: `busybox`; long where short would mean another name. */
export function familiarName({ domain, repository }: ImageReference): string {
  const full = `${domain}/${repository}`;
  if (domain !== DEFAULT_DOMAIN) return full;
  const official = repository.startsWith(OFFICIAL_PREFIX)
    ? repository.slice(OFFICIAL_PREFIX.length)
    : repository;
  const short = official.includes("/") ? repository : official;
  const reread = splitDomain(short);
  const sameName = reread.domain === domain && reread.repository === repository;
  return sameName && !imageIdPattern.test(short) ? short : full;
}

function suffix({ tag, digest }: ImageReference): string {
  return `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

function splitDomain(name: string): { readonly domain: string; readonly repository: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  // Path components have no capitals, so `Foo/bar` can only mean a host.
  const isDomain = /[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase();
  if (isDomain && first !== DEFAULT_DOMAIN && first !== LEGACY_DEFAULT_DOMAIN) {
    return { domain: first, repository: name.slice(slash + 1) };
  }
  const repository = isDomain ? name.slice(slash + 1) : name;
  return {
    domain: DEFAULT_DOMAIN,
    repository: repository.includes("/") ? repository : `${OFFICIAL_PREFIX}${repository}`,
  };
}

function checkName(text: string, domain: string, repository: string): void {
  if (!domainPattern.test(domain)) {
    throw bad(text, `its registry is ${quoteText(domain)}, expected a host name and maybe a port`);
  }
  if (repository.length > MAX_REPOSITORY_LENGTH) {
    throw bad(
      text,
      `its name has ${repository.length} characters, expected at most ${MAX_REPOSITORY_LENGTH}`,
    );
  }
  if (repositoryPattern.test(repository)) return;
  const reason = /[A-Z]/.test(repository)
    ? "a name must be lower case"
    : "expected names of a-z and 0-9, with single . or _, __ or dashes between";
  throw bad(text, reason);
}

function checkTag(text: string, tag: string): string {
  if (tagPattern.test(tag)) return tag;
  throw bad(text, `its tag is ${quoteText(tag)}, expected 1 to 128 of A-Z a-z 0-9 _ . -`);
}

function readDigest(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch (cause) {
    const problem = cause instanceof SpecError ? cause.failure.problem : String(cause);
    throw bad(text, `its digest ${problem}`);
  }
}

function bad(text: string, problem: string): SpecError {
  return new SpecError({
    document: `image reference ${quoteText(text)}`,
    path: "",
    problem,
  });
}
