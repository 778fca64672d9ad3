/** Reading a bundle: runtime-spec 1.3 bundle.md. */
import { hasErrno } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { readText, realPath } from "../files.ts";

/** A config.json of more than this is no configuration. */
const configSizeLimit = 16 * 1024 * 1024;

export interface Bundle {
  readonly path: string;
  readonly config: RuntimeConfig;
}

export function readBundle(path: string): Bundle {
  const directory = realPath(path);
  let text: string;
  try {
    text = readText(`${directory}/config.json`);
  } catch (cause) {
    if (hasErrno(cause, "ENOENT"))
      throw new Error("JSON specification file config.json not found", { cause });
    throw cause;
  }
  if (text.length > configSizeLimit)
    throw new Error(`Cannot read config.json: expected at most ${configSizeLimit} bytes`);
  const config: unknown = parseJson(text, "config.json");
  if (typeof config !== "object" || config === null || Array.isArray(config))
    throw new Error("Cannot read config.json: expected an object");
  // SAFE: an object; checkConfig and the planners look at what they use.
  return { path: directory, config: absolute(config as RuntimeConfig, directory) };
}

export function parseJson(text: string, document: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`Cannot read ${document}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
}

/** Sources of bind mounts may be relative to the bundle. */
function absolute(config: RuntimeConfig, bundle: string): RuntimeConfig {
  const { mounts } = config;
  if (!Array.isArray(mounts)) return config;
  const isRelativeBind = ({ type, source, options }: (typeof mounts)[number]) =>
    typeof source === "string" &&
    !source.startsWith("/") &&
    (type === "bind" || options?.includes("bind") || options?.includes("rbind"));
  return {
    ...config,
    mounts: mounts.map((mount) =>
      isRelativeBind(mount) ? { ...mount, source: `${bundle}/${mount.source}` } : mount,
    ),
  };
}
