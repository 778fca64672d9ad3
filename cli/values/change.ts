/** --change: instructions of a Dockerfile that set an image's configuration. */
import type { ContainerConfig } from "../../oci/index.ts";
import { UsageError } from "../errors.ts";

type Changes = { -readonly [K in keyof ContainerConfig]: ContainerConfig[K] };

const instructions: Readonly<Record<string, (config: Changes, rest: string) => void>> = {
  CMD: (config, rest) => {
    config.Cmd = command(rest);
  },
  ENTRYPOINT: (config, rest) => {
    config.Entrypoint = command(rest);
  },
  ENV: (config, rest) => {
    config.Env = [...(config.Env ?? []), ...pairs(rest).map(([key, value]) => `${key}=${value}`)];
  },
  LABEL: (config, rest) => {
    config.Labels = { ...config.Labels, ...Object.fromEntries(pairs(rest)) };
  },
  USER: (config, rest) => {
    config.User = rest;
  },
  WORKDIR: (config, rest) => {
    config.WorkingDir = rest;
  },
  STOPSIGNAL: (config, rest) => {
    config.StopSignal = rest;
  },
  EXPOSE: (config, rest) => {
    const ports = rest.split(/\s+/).map((port) => [port.includes("/") ? port : `${port}/tcp`, {}]);
    config.ExposedPorts = { ...config.ExposedPorts, ...Object.fromEntries(ports) };
  },
  VOLUME: (config, rest) => {
    const paths = rest.startsWith("[") ? command(rest) : rest.split(/\s+/);
    const set = Object.fromEntries(paths.map((path) => [path, {}]));
    config.Volumes = { ...config.Volumes, ...set };
  },
};

export function applyChanges(changes: readonly string[]): ContainerConfig {
  const config: Changes = {};
  for (const change of changes) {
    const match = /^\s*([A-Za-z]+)\s+(.+?)\s*$/s.exec(change);
    const apply = instructions[match?.[1]?.toUpperCase() ?? ""];
    if (apply === undefined || match?.[2] === undefined) {
      const known = Object.keys(instructions).join(", ");
      throw new UsageError("import", `Cannot apply the change "${change}": expected ${known}`);
    }
    apply(config, match[2]);
  }
  return config;
}

/** ["a", "b"], or a line for the shell. */
function command(text: string): readonly string[] {
  if (text.startsWith("[")) {
    try {
      const words: unknown = JSON.parse(text);
      if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
    } catch {
      // not JSON: a line for the shell that begins with a bracket, as in Dockerfiles
    }
  }
  return ["/bin/sh", "-c", text];
}

/** KEY=VALUE …, values perhaps in double quotes; or KEY VALUE. */
function pairs(text: string): [string, string][] {
  if (!/^[^\s=]+=/.test(text)) {
    const [key = "", ...rest] = text.split(/\s+/);
    return [[key, rest.join(" ")]];
  }
  return [...text.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)/g)].map(
    ([, key = "", value = ""]) => [
      key,
      value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value,
    ],
  );
}
