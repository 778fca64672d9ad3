/**
 * What the administrator told docker's daemon of registries, for those who come from docker.
 *
 *   /etc/docker/daemon.json: { "registry-mirrors": ["https://…"], "insecure-registries": ["…"] }
 *
 * Docker documentation, "dockerd": mirrors serve Docker Hub only.
 */
import { readFile } from "node:fs/promises";
import { json } from "../oci/index.ts";

export interface DaemonSettings {
  readonly mirrors: Readonly<Record<string, readonly string[]>>;
  readonly insecure: readonly string[];
}

interface DaemonFile {
  readonly "registry-mirrors"?: readonly string[];
  readonly "insecure-registries"?: readonly string[];
}

const MAX_ENTRIES = 1000;
const limits = { maxBytes: 1024 * 1024, maxDepth: 32 };
const { array, object, optional, string } = json;
const fileReader = object<DaemonFile>({
  "registry-mirrors": optional(array(string, MAX_ENTRIES)),
  "insecure-registries": optional(array(string, MAX_ENTRIES)),
});

export const DOCKER_DAEMON_FILE = "/etc/docker/daemon.json";

/** Reads the file; where there is none, nothing is set. For `openRegistryClient()`'s options. */
export async function readDaemonSettings(path = DOCKER_DAEMON_FILE): Promise<DaemonSettings> {
  const file = json.readJson(await readOrNothing(path), `"${path}"`, fileReader, limits);
  const mirrors = file["registry-mirrors"] ?? [];
  return {
    mirrors: mirrors.length === 0 ? {} : { "docker.io": mirrors },
    insecure: file["insecure-registries"] ?? [],
  };
}

async function readOrNothing(path: string): Promise<Uint8Array | string> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "{}";
    throw error;
  }
}
