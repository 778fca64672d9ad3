/** Pull from and push to registries; knows nothing of stores. */
export { CredentialHelperError } from "./auth/credential-helper.ts";
export type { Credentials, FindCredentials } from "./auth/credentials.ts";
export { dockerConfigPath } from "./auth/docker-config.ts";
export type { BlobOptions } from "./blobs.ts";
export {
  openRegistryClient,
  type PushManifestOptions,
  type RegistryClient,
  type RegistryClientOptions,
  type RepositoryReference,
} from "./client.ts";
export { ContentError, type ContentFailure } from "./content-error.ts";
export { type DaemonSettings, readDaemonSettings } from "./daemon-settings.ts";
export type { RegistryEvent } from "./events.ts";
export type { ByteRange, FetchRangesOptions, WriteAt } from "./fetch-ranges.ts";
export { BodyTooLargeError } from "./http/body.ts";
export { ConnectionError, type ConnectionProblem } from "./http/connection-error.ts";
export { RedirectError } from "./http/exchange.ts";
export { ProxyError, type ProxySettings } from "./http/proxies.ts";
export type { ListTagsOptions, ReferrersOptions } from "./listing.ts";
export type { LoginOptions, LoginResult } from "./login.ts";
export { type FetchedManifest, PlatformError, type ResolvedImage } from "./manifests.ts";
export type { OpenBlob, PushBlobOptions, PushOutcome } from "./push.ts";
export { RegistryError, type RegistryFailure, type RegistryProblem } from "./registry-error.ts";
export type { RetryPolicy } from "./retry.ts";
export { createHasher, digestOf, type Hasher } from "./verify.ts";
