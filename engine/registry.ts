/** The registry client as the engine opens it: its events become progress, settings our own. */
import { readFileSync } from "node:fs";
import {
  openRegistryClient,
  type RegistryClient,
  type RegistryClientOptions,
  type RegistryEvent,
} from "../registry-client/index.ts";
import { ContainerError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

/** ROOT-independent settings, from the environment: hosts and files separated by commas. */
export const registryVariables = {
  insecure: "MANYWORLDS_INSECURE_REGISTRIES",
  ca: "MANYWORLDS_CA_FILES",
  mirrors: "MANYWORLDS_MIRRORS",
} as const;

type Env = Readonly<Record<string, string | undefined>>;

export function openRegistry(
  onProgress: OnProgress | undefined,
  env: Env = process.env,
): RegistryClient {
  return openRegistryClient({
    ...readSettings(env),
    onEvent: (event) => translate(event, onProgress),
  });
}

function readSettings(env: Env): RegistryClientOptions {
  const list = (name: string): string[] =>
    (env[name] ?? "").split(",").flatMap((entry) => entry.trim() || []);
  const mirrors = list(registryVariables.mirrors);
  return {
    insecure: list(registryVariables.insecure),
    ca: list(registryVariables.ca).map(readCertificate),
    // mirrors are for Docker Hub, as in docker's daemon.json
    ...(mirrors.length > 0 && { mirrors: { "docker.io": mirrors } }),
  };
}

function readCertificate(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new ContainerError(`Cannot read the certificate "${path}"`, {
      cause,
      hint: `it is named by ${registryVariables.ca}`,
    });
  }
}

function translate(event: RegistryEvent, onProgress: OnProgress | undefined): void {
  if (event.type === "warning") onProgress?.({ type: "warning", text: event.message });
  if (event.type === "retry") {
    const seconds = (event.delayMs / 1000).toFixed(1);
    const reason = event.reason instanceof Error ? `: ${event.reason.message}` : "";
    onProgress?.({
      type: "warning",
      text: `Trying again to ${event.action} in ${seconds} s${reason}`,
    });
  }
  if (event.type === "mirror-skipped") {
    onProgress?.({ type: "warning", text: `Mirror ${event.host} was skipped` });
  }
}
