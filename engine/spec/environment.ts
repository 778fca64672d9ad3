/** The process' arguments and environment from image and options, in docker's order. */
import type { ContainerConfig } from "../../oci/index.ts";
import { ContainerError } from "../errors.ts";
import type { ContainerOptions } from "../options.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** PATH, HOSTNAME and TERM first, then the image's, then the caller's, then HOME. */
export function makeEnvironment(
  image: ContainerConfig,
  options: Pick<ContainerOptions, "env" | "tty">,
  facts: { readonly hostname: string; readonly home: string },
): readonly string[] {
  const all = new Map<string, string>();
  const set = (entry: string): void => {
    const equals = entry.indexOf("=");
    if (equals < 0) all.delete(entry);
    else all.set(entry.slice(0, equals), entry.slice(equals + 1));
  };
  set(`PATH=${PATH}`);
  set(`HOSTNAME=${facts.hostname}`);
  if (options.tty) set("TERM=xterm");
  for (const entry of image.Env ?? []) set(entry);
  for (const entry of options.env ?? []) set(entry);
  if (!all.has("HOME")) all.set("HOME", facts.home);
  return [...all].map(([name, value]) => `${name}=${value}`);
}

/**
 * ENTRYPOINT and CMD (Dockerfile reference, "Understand how CMD and ENTRYPOINT interact"): a new
 * entry point takes the image's CMD away, a command replaces it.
 */
export function makeArguments(
  image: ContainerConfig,
  options: Pick<ContainerOptions, "command" | "entrypoint">,
): readonly string[] {
  const { command = [], entrypoint } = options;
  const fallback = entrypoint === undefined ? (image.Cmd ?? []) : [];
  const rest = command.length > 0 ? command : fallback;
  const args = [...(entrypoint ?? image.Entrypoint ?? []), ...rest];
  if (args.length > 0 && args[0] !== "") return args;
  throw new ContainerError("Cannot start the container: the image names no command", {
    hint: "write the command after the image: manyworlds run IMAGE COMMAND",
  });
}
