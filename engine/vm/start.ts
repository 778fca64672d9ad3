/**
 * A container in a virtual machine of its own: image → block device → machine → process. This
 * process is the machine's monitor; when it goes, so does the container.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ErofsReader, rootImage } from "../../image/erofs/index.ts";
import type { ImageRecord } from "../../image/index.ts";
import { hasNativeCode } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { dockerSeccompFilter } from "../../runtime/index.ts";
import { GUEST_ROOTFS } from "../../vmm-sandbox/index.ts";
import { makeBindSources } from "../bind-sources.ts";
import type { Claim, ContainerRecord, RunLock } from "../containers/directory.ts";
import type { ContainerOptions, PullPolicy } from "../options.ts";
import { openPlaces, type Places } from "../places.ts";
import { stopSignalOf } from "../prepare.ts";
import type { OnProgress } from "../progress.ts";
import { resolveImage } from "../resolve-image.ts";
import { makeArguments } from "../spec/environment.ts";
import { hostFile } from "../spec/host.ts";
import { makeHosts, makeResolvConf } from "../spec/network-files.ts";
import { chooseCpu } from "./choose-cpu.ts";
import { readAccount, startIn, takeAway, VmContainer } from "./container.ts";
import { baseModules, findGuestKernel } from "./guest-kernel.ts";
import { type GuestFacts, planGuestLaunch } from "./guest-launch.ts";
import { type Phase, startMachine } from "./machine.ts";
import { planShares } from "./shares.ts";
import { checkGuestOptions, guestFiles, makeGuestConfig } from "./spec.ts";
import { openUserNetwork, userAddresses } from "./user-network.ts";

export interface VmOptions {
  readonly cpu?: "auto" | "kvm" | "software" | undefined;
  /** Path of the guest's kernel. */
  readonly kernel?: string | undefined;
  /** Boot the machine, whether or not there is a snapshot of one like it; makes none either. */
  readonly cold?: boolean | undefined;
  /** Gets what the guest's kernel says. */
  readonly onConsole?: ((bytes: Uint8Array) => void) | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
}

export interface VmContainerRequest extends VmOptions {
  readonly image: string;
  readonly container: ContainerOptions;
  readonly root?: string | undefined;
  readonly name?: string | undefined;
  readonly remove: boolean;
  readonly pull?: PullPolicy | undefined;
  readonly platform?: string | undefined;
  readonly size?: { readonly width: number; readonly height: number } | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** The image is here and ready. */
  readonly onReady?: (() => void) | undefined;
}

const MiB = 2 ** 20;
const DEFAULT_MEMORY_BYTES = 512 * MiB;
/** What the guest's kernel and its caches take, beside what the container was granted. */
const KERNEL_MEMORY_BYTES = 64 * MiB;
const SHORT_ID = 12;

export async function startVmContainer(request: VmContainerRequest): Promise<VmContainer> {
  checkGuestOptions(request.container);
  const places = openPlaces(request.root);
  try {
    if (hasNativeCode()) (await import("../sweep.ts")).sweep(places);
    const image = await resolveImage(places, request.image, { ...request, unpack: false });
    return await launchIn(places, image, request);
  } catch (error) {
    places.store[Symbol.dispose]();
    throw error;
  }
}

async function launchIn(
  places: Places,
  image: ImageRecord,
  request: VmContainerRequest,
): Promise<VmContainer> {
  const { container: options, onProgress, signal } = request;
  const defaults = places.store.images.config(image).config ?? {};
  const command = makeArguments(defaults, options); // fails before anything is made
  const { cpu, reason } = chooseCpu(request.cpu ?? "auto");
  const shares = planShares(options);
  const kernel = findGuestKernel({
    kernel: request.kernel,
    env: process.env,
    root: places.root,
    cpu,
    modules: [
      ...baseModules,
      ...(shares.shares.length === 0 ? [] : ["virtiofs"]),
      ...(options.network === "passt" ? ["virtio_net"] : []),
    ],
  });
  const disk = await diskOf(places, image, request);
  signal?.throwIfAborted();
  request.onReady?.();
  const cpus = countCpus(options, cpu, onProgress);
  const memoryBytes = memoryOf(options);
  const claim = claimName(places, request.name);
  try {
    const { id, name } = claim;
    const hostname = options.hostname ?? id.slice(0, SHORT_ID);
    using reader = new ErofsReader(disk);
    const plain = makeGuestConfig(defaults, options, {
      id,
      hostname,
      account: readAccount(reader, options.user ?? defaults.User ?? "", options.groups ?? []),
      cpus,
      sourceOf: shares.sourceOf,
    });
    const config = withSize(plain, request.size);
    const socket = join(places.runRoot, "vm", `${id.slice(0, SHORT_ID)}.sock`);
    const record: ContainerRecord = {
      id,
      name,
      image: request.image,
      imageId: image.config.digest,
      command,
      createdAt: new Date().toISOString(),
      autoRemove: request.remove,
      labels: { ...defaults.Labels, ...options.labels },
      cgroupsPath: "",
      network: options.network ?? "none",
      ...stopSignalOf(defaults, options),
      machine: { cpu, reason, cpus, memoryBytes, kernel: kernel.path, socket },
    };
    mkdirSync(places.containers.path(id), { recursive: true, mode: 0o700 });
    writeFileSync(join(places.containers.path(id), "config.json"), JSON.stringify(config));
    places.containers.write(record);
    makeBindSources(options);
    using network = options.network === "passt" ? openUserNetwork() : undefined;
    const machine = await startMachine({
      cpu,
      cpus,
      memoryBytes,
      kernel,
      root: { image: disk },
      shares: shares.shares,
      files: networkFiles(hostname, options),
      resources: config.linux?.resources,
      network,
      snapshots: request.cold === true ? undefined : places.snapshots,
      onConsole: request.onConsole,
      onPhase: request.onPhase,
      onWarning: (text) => onProgress?.({ type: "warning", text }),
    });
    const facts: GuestFacts = {
      rootfs: GUEST_ROOTFS,
      cgroups: machine.cgroups,
      files: new Set([...Object.values(guestFiles), ...shares.files]),
      locate: (path) => reader.locate(path),
    };
    try {
      const launch = planGuestLaunch(config, facts, {
        filter: filterOf(config, options),
        init: options.init ?? false,
      });
      const first = await startIn(machine, launch, config, name);
      const { lock } = claim;
      return new VmContainer({ places, record, config, lock, machine, first, shares, disk });
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    takeAway(places, claim);
    throw error;
  }
}

async function diskOf(
  { store }: Places,
  image: ImageRecord,
  { signal, onProgress }: VmContainerRequest,
): Promise<string> {
  using _lease = await store.lease(signal === undefined ? {} : { signal });
  const onBuild = () => onProgress?.({ type: "status", text: "Writing the image's block device" });
  return await rootImage(store, image, { signal, onBuild });
}

function claimName({ containers }: Places, name: string | undefined): Claim<RunLock> {
  return hasNativeCode() ? containers.claim(name) : containers.claimByOwner(name);
}

function countCpus(
  { cpus = 1 }: ContainerOptions,
  cpu: "kvm" | "software",
  onProgress: OnProgress | undefined,
): number {
  const count = Math.max(1, Math.ceil(cpus));
  if (cpu === "kvm" || count === 1) return count;
  const text = `The software CPU has one virtual CPU: the machine gets 1 of the ${count} asked for`;
  onProgress?.({ type: "warning", text });
  return count;
}

function memoryOf({ memoryBytes }: ContainerOptions): number {
  if (memoryBytes === undefined || memoryBytes === 0) return DEFAULT_MEMORY_BYTES;
  return Math.ceil((memoryBytes + KERNEL_MEMORY_BYTES) / MiB) * MiB;
}

function networkFiles(hostname: string, options: ContainerOptions): ReadonlyMap<string, string> {
  return new Map([
    [guestFiles.hosts, makeHosts(options, "")],
    [guestFiles.resolvConf, makeResolvConf(options, resolvers(options))],
    [guestFiles.hostname, `${hostname}\n`],
  ]);
}

/** passt asks the host's resolvers, also those on its loopback device. */
function resolvers({ network }: ContainerOptions): string {
  const own = hostFile("/etc/resolv.conf");
  if (network !== "passt") return own;
  return `nameserver ${userAddresses.dns}\n${own.replaceAll(/^\s*nameserver.*$/gm, "")}`;
}

function filterOf({ process }: RuntimeConfig, { privileged, security }: ContainerOptions) {
  if (privileged === true || security?.seccomp !== undefined) return undefined;
  return dockerSeccompFilter(process?.capabilities?.bounding ?? []);
}

function withSize(config: RuntimeConfig, size: VmContainerRequest["size"]): RuntimeConfig {
  const { process } = config;
  if (size === undefined || process?.terminal !== true) return config;
  return { ...config, process: { ...process, consoleSize: size } };
}
