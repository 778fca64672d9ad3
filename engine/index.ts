/**
 * Containers as users know them. What needs the network, the store or the kernel is behind
 * import(), so that each verb of the command line loads only what it uses.
 */
import type { Classification } from "../vmm-sandbox/index.ts";
import type { ContainerLine, RemoveOptions } from "./containers/list.ts";
import type { StopOptions } from "./detached/control.ts";
import type { LogsRequest } from "./detached/logs.ts";
import type { DetachedRequest } from "./detached/run.ts";
import type { Diagnosis } from "./doctor/index.ts";
import type { ExecRequest } from "./exec.ts";
import type { ExplainRequest, Explanation } from "./explain.ts";
import type { HostFacts } from "./host-facts.ts";
import type { HistoryLine, ImageLine } from "./images.ts";
import type { RunningContainer, RunRequest } from "./library.ts";
import type { Places } from "./places.ts";
import type { OnProgress } from "./progress.ts";
import type { ForegroundRequest, ForegroundResult } from "./run.ts";
import type { BootRequest } from "./vm/boot.ts";
import type { VmForegroundRequest } from "./vm/foreground.ts";

export type { Classification, CpuReport } from "../vmm-sandbox/index.ts";
export type { ContainerLine, RemoveOptions } from "./containers/list.ts";
export type { Diagnosis, Finding, Rung } from "./doctor/index.ts";
export { ContainerError, ImageNotFoundError } from "./errors.ts";
export type { ExplainRequest, Explanation } from "./explain.ts";
export type { HostFacts } from "./host-facts.ts";
export type { HistoryLine, ImageLine } from "./images.ts";
export type { RunningContainer, RunningMachine, RunRequest } from "./library.ts";
export type * from "./options.ts";
export type * from "./progress.ts";
export type { ForegroundRequest, ForegroundResult } from "./run.ts";
export { namesOfMask as capabilitiesOfMask } from "./spec/capabilities.ts";
export { defaultStateRoot } from "./state-root.ts";
export { VERSION } from "./version.ts";
export type { MachineStats } from "./vm/stats.ts";

type Root = string | undefined;

async function places(root: Root): Promise<Places> {
  return (await import("./places.ts")).openPlaces(root);
}

/** Tries what this machine can do. */
export async function diagnose(stateRoot?: string): Promise<Diagnosis> {
  return (await import("./doctor/index.ts")).diagnose(stateRoot);
}

/** Runs a container on this process's own descriptors and terminal, until it ends. */
export async function runForeground(request: ForegroundRequest): Promise<ForegroundResult> {
  return (await import("./run.ts")).runForeground(request);
}

/** The same in a virtual machine of its own, on KVM or on the software CPU. */
export async function runVmForeground(request: VmForegroundRequest): Promise<ForegroundResult> {
  return (await import("./vm/foreground.ts")).runVmForeground(request);
}

/** Counts the instructions of an ELF file or a kernel image that made x86 hard to virtualise. */
export async function classifyProgram(path: string): Promise<Classification> {
  const { classifyProgram: classify } = await import("../vmm-sandbox/index.ts");
  return classify((await import("node:fs")).readFileSync(path));
}

/** Makes a container in the background and its keeper of this process; returns only by throwing. */
export async function runDetached(request: DetachedRequest): Promise<never> {
  return (await import("./detached/run.ts")).runDetached(request);
}

/** Starts this program once more, for `--detach`; see detached/detach.ts. */
export async function detaching(): Promise<typeof import("./detached/detach.ts")> {
  return await import("./detached/detach.ts");
}

/** Returns when the container has ended. */
export async function stopContainer(root: Root, name: string, options: StopOptions): Promise<void> {
  const { stopContainer: stop } = await import("./detached/control.ts");
  await stop(await places(root), name, options);
}

export async function killContainer(root: Root, name: string, signal: string): Promise<void> {
  const { killContainerByName } = await import("./detached/control.ts");
  await killContainerByName(await places(root), name, signal);
}

/** @returns the exit status of a container, when it has ended */
export async function waitForContainer(root: Root, name: string): Promise<number> {
  const { waitForContainer: wait } = await import("./detached/control.ts");
  return await wait(await places(root), name);
}

export async function showLogs(root: Root, request: LogsRequest): Promise<void> {
  await (await import("./detached/logs.ts")).showLogs(await places(root), request);
}

/** Runs another process in a running container, on our own streams. */
export async function execForeground(request: ExecRequest): Promise<number> {
  return (await import("./exec.ts")).execForeground(request);
}

/** The process that keeps a machine for the OCI runtime; resolves to its container's exit status. */
export async function keepMachine(stateRoot: string, id: string): Promise<number> {
  return (await import("./vm/keeper.ts")).keepMachine(stateRoot, id);
}

/** The process that stands for one in such a machine; `socket` is a descriptor. */
export async function relayInMachine(socket: number): Promise<number> {
  return (await import("./vm/keeper.ts")).relayInMachine(socket);
}

/** Boots any kernel, its serial console on this process's terminal. @returns the exit status */
export async function bootKernel(request: BootRequest): Promise<number> {
  return (await import("./vm/boot.ts")).bootKernel(request);
}

export interface TransferOptions {
  readonly root?: Root;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PulledImage {
  /** docker's image ID. */
  readonly id: string;
  /** Complete name: "docker.io/library/busybox:latest". */
  readonly reference: string;
  /** What the registry calls it. */
  readonly digest: string;
  readonly upToDate: boolean;
}

/** Brings an image from its registry, unpacked and ready to run. */
export async function pull(
  reference: string,
  options: TransferOptions & { readonly platform?: string | undefined } = {},
): Promise<PulledImage> {
  const [{ pullImage }, { openRegistry }, oci, { store }] = await Promise.all([
    import("./pull.ts"),
    import("./registry.ts"),
    import("../oci/index.ts"),
    places(options.root),
  ]);
  using _ = store;
  await using client = openRegistry(options.onProgress);
  const { image, digest, upToDate } = await pullImage(store, client, reference, options);
  const name = oci.formatReference(oci.parseReference(reference));
  return { id: image.id, reference: name, digest, upToDate };
}

/** Brings an image to the registry that its name says. @returns its digest there */
export async function push(reference: string, options: TransferOptions = {}): Promise<string> {
  const [{ pushImage }, { openRegistry }, { store }] = await Promise.all([
    import("./push.ts"),
    import("./registry.ts"),
    places(options.root),
  ]);
  using _ = store;
  await using client = openRegistry(options.onProgress);
  return await pushImage(store, client, reference, options);
}

/** All tags of a repository. */
export async function tagsOf(name: string, { signal }: { signal: AbortSignal }): Promise<string[]> {
  const [{ openRegistry }, oci] = await Promise.all([
    import("./registry.ts"),
    import("../oci/index.ts"),
  ]);
  await using client = openRegistry(undefined);
  const tags: string[] = [];
  for await (const tag of client.listTags(oci.parseReference(name), { signal })) tags.push(tag);
  return tags;
}

export interface Login {
  readonly username: string;
  readonly password: string;
  readonly signal: AbortSignal;
  readonly onWarning: (text: string) => void;
}

/** Checks a password with the registry and keeps it. @returns where it is kept */
export async function login(server: string, options: Login): Promise<string> {
  const { openRegistry } = await import("./registry.ts");
  const { onWarning, ...rest } = options;
  await using client = openRegistry((event) => {
    if (event.type === "warning") onWarning(event.text);
  });
  const { storedIn } = await client.login(server, rest);
  return "file" in storedIn ? storedIn.file : storedIn.helper;
}

export async function logout(server: string): Promise<void> {
  const { openRegistry } = await import("./registry.ts");
  await using client = openRegistry(undefined);
  await client.logout(server, { signal: new AbortController().signal });
}

/** The images of a state root, as people ask about them. */
export interface ImageCatalogue extends Disposable {
  list(): ImageLine[];
  matches(line: ImageLine, wanted: string): boolean;
  inspect(name: string): Record<string, unknown>;
  history(name: string): HistoryLine[];
  tag(source: string, target: string): void;
  names(prefix: string): string[];
}

export async function imageCatalogue(root?: string): Promise<ImageCatalogue> {
  const [all, images] = await Promise.all([places(root), import("./images.ts")]);
  return {
    list: () => images.listImages(all),
    matches: images.matchesName,
    inspect: (name) => images.inspectImage(all, name),
    history: (name) => images.historyOf(all, name),
    tag: (source, target) => images.tagImage(all, source, target),
    names: (prefix) => images.imageNames(all, prefix),
    [Symbol.dispose]: () => all.store[Symbol.dispose](),
  };
}

export async function listContainers(root?: string): Promise<ContainerLine[]> {
  const [all, { listContainers: list }] = await Promise.all([
    places(root),
    import("./containers/list.ts"),
  ]);
  return list(all);
}

/** docker's details of a container; undefined when there is none of that name. */
export async function inspectContainer(
  root: Root,
  name: string,
): Promise<Record<string, unknown> | undefined> {
  const [all, { inspectContainer: inspect }] = await Promise.all([
    places(root),
    import("./containers/list.ts"),
  ]);
  return inspect(all, name);
}

export async function removeContainer(
  root: Root,
  name: string,
  options: RemoveOptions = {},
): Promise<void> {
  const [all, { removeContainer: remove }] = await Promise.all([
    places(root),
    import("./containers/list.ts"),
  ]);
  await remove(all, name, options);
}

/** Names of containers that begin with `prefix`, for completion. */
export async function containerNames(root: Root, prefix: string): Promise<string[]> {
  const { containers } = await places(root);
  return containers.list().flatMap(({ name }) => (name.startsWith(prefix) ? [name] : []));
}

export async function hostFacts(root?: string): Promise<HostFacts> {
  const [all, { readHostFacts }] = await Promise.all([places(root), import("./host-facts.ts")]);
  return readHostFacts(all);
}

/** What `run` would do, call by call. */
export async function explainImage(request: ExplainRequest): Promise<Explanation> {
  return (await import("./explain.ts")).explainImage(request);
}

export async function explainBundle(bundle: string): Promise<Explanation> {
  return (await import("./explain.ts")).explainBundle(bundle);
}

/** Brings an image when it is not here yet, as `run` does. */
export async function ensureImage(name: string, options: TransferOptions = {}): Promise<void> {
  const [all, { resolveImage }] = await Promise.all([
    places(options.root),
    import("./resolve-image.ts"),
  ]);
  using _ = all.store;
  await resolveImage(all, name, options);
}

/** The kernel that a machine on the software CPU would boot. */
export async function guestKernelPath(root: string): Promise<string> {
  const { findGuestKernel } = await import("./vm/guest-kernel.ts");
  return findGuestKernel({ env: process.env, root, cpu: "software", modules: [] }).path;
}

/** An image as a plain directory, for those that run bundles. */
export async function flattenImage(root: Root, name: string, directory: string): Promise<void> {
  await (await import("./flatten.ts")).flattenImage(root, name, directory);
}

/** Verbs on whole images and on the disk, loaded together. */
export async function storeOperations(): Promise<typeof import("./store-operations.ts")> {
  return import("./store-operations.ts");
}

/** Starts a container and returns while it runs. */
export async function run(request: RunRequest): Promise<RunningContainer> {
  if (request.isolation === "vm") return (await import("./vm/library.ts")).runInMachine(request);
  return (await import("./library.ts")).run(request);
}
