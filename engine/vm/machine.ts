/**
 * A machine made ready for one container: booted, its root put together, shares and small files in
 * place, limits set.
 */
import { readFileSync } from "node:fs";
import { hasNativeCode } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import {
  ConfinementError,
  type GuestKernel,
  planGuestRoot,
  type Sandbox,
  SoftwareBackend,
  startConfinedSandbox,
  startSandbox,
  VirtioFs,
} from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { CpuKind } from "./choose-cpu.ts";
import type { KernelFiles } from "./guest-kernel.ts";
import { type GuestShare, planGuestSetup, probeCgroups } from "./guest-launch.ts";
import { type GuestNetwork, planGuestNetwork } from "./guest-network.ts";

export interface HostShare extends GuestShare {
  /** Directory of the host. */
  readonly source: string;
  /** The files of it that the guest may see. */
  readonly only?: readonly string[];
}

export interface MachineRequest {
  readonly cpu: CpuKind;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: KernelFiles;
  /** An image as a block device, or a directory that becomes the root as it is. */
  readonly root: { readonly image: string } | { readonly directory: string };
  readonly network?: GuestNetwork | undefined;
  readonly shares: readonly HostShare[];
  readonly files: ReadonlyMap<string, string>;
  readonly resources: NonNullable<RuntimeConfig["linux"]>["resources"];
  readonly onConsole?: ((bytes: Uint8Array) => void) | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
  readonly onWarning?: ((text: string) => void) | undefined;
}

/** Tag of the share that is the container's root. */
const ROOT_TAG = "rootfs";

/** What has been reached, for those who measure. */
export type Phase = "kernel" | "agent" | "root";

export interface ContainerMachine extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly cgroups: boolean;
  /** Ends it at once, where nothing of the guest's is left to be written. */
  unplug(): Promise<void>;
}

export async function startMachine(request: MachineRequest): Promise<ContainerMachine> {
  const { shares, files, resources, root, network, onPhase } = request;
  const directories: VirtioFs[] = [];
  const close = (): void => {
    for (const directory of directories.splice(0)) directory[Symbol.dispose]();
  };
  try {
    onPhase?.("kernel");
    const sandbox = await openSandbox(request, directories);
    onPhase?.("agent");
    const machine: ContainerMachine = {
      sandbox,
      cgroups: false,
      async unplug() {
        await sandbox.unplug();
        close();
      },
      async [Symbol.asyncDispose]() {
        await sandbox[Symbol.asyncDispose]();
        close();
      },
    };
    try {
      const { kernel: agent } = sandbox;
      const where = "image" in root ? { imageDisk: "/dev/vda" } : { shareTag: ROOT_TAG };
      await mustRun(agent, planGuestRoot(where), "its root file system");
      const { value } = await agent.run(probeCgroups);
      const cgroups = value === 1;
      await mustRun(agent, planGuestSetup({ shares, files, resources, cgroups }), "its files");
      if (network !== undefined) await connectGuest(agent, network);
      onPhase?.("root");
      return { ...machine, cgroups };
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * In a confined process of its own. Where that cannot be, the software CPU, whose guest reaches its
 * own WebAssembly memory alone, runs here; `directories` are then this process's.
 */
async function openSandbox(request: MachineRequest, directories: VirtioFs[]): Promise<Sandbox> {
  const { cpu, cpus, memoryBytes: memorySizeBytes, kernel, root, network, onConsole } = request;
  const shares: readonly HostShare[] =
    "image" in root
      ? request.shares
      : [{ tag: ROOT_TAG, target: "", readOnly: false, source: root.directory }, ...request.shares];
  const modules = readModules(kernel);
  const common = {
    disks: "image" in root ? [{ path: root.image, readOnly: true }] : [],
    commandLine: onConsole === undefined ? "" : "loglevel=7",
    ...(onConsole !== undefined && { onConsole }),
  };
  if (hasNativeCode())
    try {
      const nets = network?.devices ?? [];
      const own = { cpu, cpus, memorySizeBytes, kernel: kernel.path, modules, shares, nets };
      return await startConfinedSandbox({ ...common, ...own });
    } catch (error) {
      const needsConfinement = cpu === "kvm" || network !== undefined || "directory" in root;
      if (!(error instanceof ConfinementError) || needsConfinement) throw error;
      request.onWarning?.(`${error.message}; the software CPU runs in this process instead`);
    }
  directories.push(...openShares(shares));
  return await startSandbox({
    ...common,
    backend: new SoftwareBackend({ memorySizeBytes }),
    kernel: { image: readKernel(kernel), modules },
    devices: directories,
  });
}

function readKernel({ path }: KernelFiles): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ContainerError(`Cannot read the guest kernel "${path}"`, { cause });
  }
}

function readModules({ path, modules }: KernelFiles): GuestKernel["modules"] {
  try {
    return modules.map(({ name, path: file }) => ({ name, bytes: readFileSync(file) }));
  } catch (cause) {
    throw new ContainerError(`Cannot read the modules of "${path}"`, { cause });
  }
}

/** All or none. */
function openShares(shares: readonly HostShare[]): VirtioFs[] {
  const opened: VirtioFs[] = [];
  try {
    for (const { tag, source, readOnly, only } of shares)
      opened.push(
        new VirtioFs(tag, { path: source, readOnly, ...(only !== undefined && { only }) }),
      );
  } catch (cause) {
    for (const each of opened) each[Symbol.dispose]();
    throw new ContainerError(`Cannot share "${shares[opened.length]?.source}" with the guest`, {
      cause,
    });
  }
  return opened;
}

async function connectGuest(agent: Sandbox["kernel"], { interfaces }: GuestNetwork): Promise<void> {
  const { program, explain } = planGuestNetwork(interfaces);
  const problem = explain(await mustRun(agent, program, "its network"));
  if (problem === undefined) return;
  throw new ContainerError(`Cannot connect the guest to the network: ${problem}`);
}

/** What the program ended with. */
async function mustRun(
  agent: Sandbox["kernel"],
  program: Parameters<Sandbox["kernel"]["run"]>[0],
  what: string,
): Promise<number> {
  const { failure, value } = await agent.run(program);
  if (failure === undefined) return value;
  const { call, errno, note, args } = failure;
  const detail = note === undefined ? `${call}(${args.join(", ")})` : `${note}: ${call}`;
  throw new ContainerError(`Cannot prepare the guest, ${what}: ${detail} failed with ${errno}`);
}
