/**
 * Everything of a container but its process: directory, files, accounts, configuration. What is
 * made here is undone by `discard`, or by a sweep when we are killed.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageRecord, Snapshot } from "../image/index.ts";
import type { Fd } from "../linux/index.ts";
import type { ContainerConfig, ImageConfig, RuntimeConfig } from "../oci/index.ts";
import { dockerSeccompFilter, type EncodedFilter } from "../runtime/index.ts";
import { makeBindSources } from "./bind-sources.ts";
import type { ContainerRecord } from "./containers/directory.ts";
import { ignoreMissing } from "./containers/directory.ts";
import { ContainerError } from "./errors.ts";
import type { ContainerOptions } from "./options.ts";
import type { Places } from "./places.ts";
import { makeConfig } from "./spec/config.ts";
import { makeArguments } from "./spec/environment.ts";
import { readFacts } from "./spec/facts.ts";
import { hostFile, hostName } from "./spec/host.ts";
import { LayerView } from "./spec/layer-view.ts";
import { makeHosts, makeResolvConf } from "./spec/network-files.ts";

export interface Prepared {
  readonly record: ContainerRecord;
  readonly config: RuntimeConfig;
  readonly snapshot: Snapshot;
  /** The root file system as it will be, before it is mounted. */
  readonly view: LayerView;
  /** docker's default filter, unless the configuration has a profile or there is none. */
  readonly filter: EncodedFilter | undefined;
  /** Held while the container runs. */
  readonly lock: Fd;
}

export interface PrepareOptions {
  readonly name?: string | undefined;
  readonly autoRemove: boolean;
  /** As the user wrote it. */
  readonly imageName: string;
  /** For reading, not for running: everything is in the configuration. */
  readonly explains?: boolean;
}

const SHORT_ID = 12;

export function prepareContainer(
  places: Places,
  image: ImageRecord,
  imageConfig: ImageConfig,
  options: ContainerOptions,
  { name, autoRemove, imageName, explains = false }: PrepareOptions,
): Prepared {
  if (options.network === "passt")
    throw new ContainerError("Cannot use --network passt: it is for virtual machines", {
      hint: "use --isolation vm, or --network host",
    });
  const { store, containers } = places;
  const defaults = imageConfig.config ?? {};
  const command = makeArguments(defaults, options); // fails before anything is made
  const { lock, ...claimed } = containers.claim(name);
  const { id } = claimed;
  let view: LayerView | undefined;
  try {
    const snapshot = store.snapshots.prepare(id, image.chain, { volatile: autoRemove });
    const shared = options.network === "host" || options.uts === "host";
    const hostname = options.hostname ?? (shared ? hostName() : id.slice(0, SHORT_ID));
    const files = writeNetworkFiles(snapshot.directory, hostname, options);
    makeBindSources(options);
    view = new LayerView(snapshot.lower);
    const facts = readFacts(options, {
      id,
      hostname,
      files,
      rootfs: snapshot.merged,
      view,
      explains,
      user: options.user ?? defaults.User ?? "",
    });
    const config = makeConfig(defaults, options, facts);
    const record: ContainerRecord = {
      ...claimed,
      image: imageName,
      imageId: image.config.digest,
      command,
      createdAt: new Date().toISOString(),
      autoRemove,
      labels: { ...defaults.Labels, ...options.labels },
      cgroupsPath: facts.cgroupsPath,
      network: options.network ?? "none",
      ...stopSignalOf(defaults, options),
      defaultSeccomp: hasDefaultSeccomp(options),
    };
    containers.write(record);
    const filter = explains ? undefined : defaultFilter(config, options);
    return { record, config, snapshot, view, filter, lock };
  } catch (error) {
    view?.[Symbol.dispose]();
    discard(places, claimed, lock);
    throw error;
  }
}

/** The user's, or the image's. */
export function stopSignalOf(
  { StopSignal }: ContainerConfig,
  { stopSignal = StopSignal }: ContainerOptions,
): { readonly stopSignal?: string } {
  return stopSignal === undefined ? {} : { stopSignal };
}

function hasDefaultSeccomp({ privileged, security }: ContainerOptions): boolean {
  return privileged !== true && security?.seccomp === undefined;
}

function defaultFilter(
  { process }: RuntimeConfig,
  options: ContainerOptions,
): EncodedFilter | undefined {
  if (!hasDefaultSeccomp(options)) return undefined;
  return dockerSeccompFilter(process?.capabilities?.bounding ?? []);
}

/** Takes away directory, name and lock. The process and its mounts must be gone. */
export function discard(
  { store, containers }: Places,
  record: Pick<ContainerRecord, "id" | "name">,
  lock: Fd | undefined,
): void {
  // the running file goes last: until then a sweep would find what we leave if we die here
  ignoreMissing(() => store.snapshots.remove(record.id));
  containers.remove(record);
  lock?.close();
}

function writeNetworkFiles(
  directory: string,
  hostname: string,
  options: ContainerOptions,
): { hosts: string; resolvConf: string; hostname: string } {
  const write = (name: string, text: string): string => {
    const path = join(directory, name);
    try {
      writeFileSync(path, text, { mode: 0o644 });
    } catch (cause) {
      throw new ContainerError(`Cannot write "${path}"`, { cause });
    }
    return path;
  };
  const hosts = options.network === "host" ? hostFile("/etc/hosts") : "";
  return {
    hosts: write("hosts", makeHosts(options, hosts)),
    resolvConf: write("resolv.conf", makeResolvConf(options, hostFile("/etc/resolv.conf"))),
    hostname: write("hostname", `${hostname}\n`),
  };
}
