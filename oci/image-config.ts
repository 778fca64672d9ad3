/**
 * Image configuration: what to run and which layers make the root file system.
 * OCI image-spec 1.1, config.md; Docker's extra fields from "Docker Image Specification v1.2/1.3".
 */
import { type Digest, parseDigest } from "./digest.ts";
import {
  array,
  boolean,
  integer,
  type JsonLimits,
  object,
  optional,
  parsed,
  type Reader,
  readJson,
  record,
  required,
  string,
} from "./json.ts";
import { MAX_LAYERS } from "./manifest.ts";

export interface ImageConfig {
  readonly created?: string;
  readonly author?: string;
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
  readonly config?: ContainerConfig;
  readonly rootfs: RootFileSystem;
  /** Oldest first; entries without `empty_layer` match the layers in order. */
  readonly history?: readonly HistoryEntry[];
  readonly container?: string;
  readonly docker_version?: string;
}

export interface ContainerConfig {
  readonly Hostname?: string;
  readonly Domainname?: string;
  readonly User?: string;
  /** Keys: "80/tcp", "53/udp", or "80", which means TCP. */
  readonly ExposedPorts?: KeySet;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  /** Keys: absolute paths inside the container. */
  readonly Volumes?: KeySet;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  /** Seconds. */
  readonly StopTimeout?: number;
  readonly Healthcheck?: Healthcheck;
  readonly Shell?: readonly string[];
  readonly OnBuild?: readonly string[];
  readonly ArgsEscaped?: boolean;
  readonly Tty?: boolean;
  readonly OpenStdin?: boolean;
  readonly StdinOnce?: boolean;
  readonly AttachStdin?: boolean;
  readonly AttachStdout?: boolean;
  readonly AttachStderr?: boolean;
  readonly Image?: string;
}

/** A Go set: only the keys mean something. */
export type KeySet = Readonly<Record<string, unknown>>;

/** Docker's HEALTHCHECK; durations are nanoseconds, 0 means the default. */
export interface Healthcheck {
  /** [] inherits, ["NONE"] disables, ["CMD", …] or ["CMD-SHELL", command]. */
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

export interface RootFileSystem {
  readonly type: string;
  /** Digests of the uncompressed layers, lowest first. */
  readonly diff_ids: readonly Digest[];
}

export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

export const MAX_IMAGE_CONFIG_BYTES = 8 * 1024 * 1024;
const MAX_STRINGS = 65536;
const MAX_HISTORY = 65536;
const limits: JsonLimits = { maxBytes: MAX_IMAGE_CONFIG_BYTES, maxDepth: 64 };

const strings = array(string, MAX_STRINGS);
const keySet: Reader<KeySet> = record((value: unknown) => value, MAX_STRINGS);

const healthcheckReader = object<Healthcheck>({
  Test: optional(strings),
  Interval: optional(integer),
  Timeout: optional(integer),
  StartPeriod: optional(integer),
  StartInterval: optional(integer),
  Retries: optional(integer),
});

const containerConfigReader = object<ContainerConfig>({
  Hostname: optional(string),
  Domainname: optional(string),
  User: optional(string),
  ExposedPorts: optional(keySet),
  Env: optional(strings),
  Entrypoint: optional(strings),
  Cmd: optional(strings),
  Volumes: optional(keySet),
  WorkingDir: optional(string),
  Labels: optional(record(string, MAX_STRINGS)),
  StopSignal: optional(string),
  StopTimeout: optional(integer),
  Healthcheck: optional(healthcheckReader),
  Shell: optional(strings),
  OnBuild: optional(strings),
  ArgsEscaped: optional(boolean),
  Tty: optional(boolean),
  OpenStdin: optional(boolean),
  StdinOnce: optional(boolean),
  AttachStdin: optional(boolean),
  AttachStdout: optional(boolean),
  AttachStderr: optional(boolean),
  Image: optional(string),
});

const imageConfigReader = object<ImageConfig>({
  created: optional(string),
  author: optional(string),
  architecture: required(string),
  os: required(string),
  variant: optional(string),
  "os.version": optional(string),
  "os.features": optional(strings),
  config: optional(containerConfigReader),
  rootfs: required(
    object<RootFileSystem>({
      type: required(string),
      diff_ids: required(array(parsed(parseDigest), MAX_LAYERS)),
    }),
  ),
  history: optional(
    array(
      object<HistoryEntry>({
        created: optional(string),
        created_by: optional(string),
        author: optional(string),
        comment: optional(string),
        empty_layer: optional(boolean),
      }),
      MAX_HISTORY,
    ),
  ),
  container: optional(string),
  docker_version: optional(string),
});

export function parseImageConfig(source: Uint8Array | string): ImageConfig {
  return readJson(source, "image config", imageConfigReader, limits);
}
