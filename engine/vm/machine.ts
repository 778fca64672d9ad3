/**
 * A machine made ready for one container: booted, its root put together, shares and small files in
 * place, limits set.
 */
import type { RuntimeConfig } from "../../oci/index.ts";
import { planGuestRoot, type Sandbox, type VirtioFs } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { CpuKind } from "./choose-cpu.ts";
import type { KernelFiles } from "./guest-kernel.ts";
import { type GuestShare, planGuestSetup, probeCgroups } from "./guest-launch.ts";
import { checkLimits } from "./guest-limits.ts";
import { type GuestNetwork, planGuestNetwork } from "./guest-network.ts";
import { openWarm } from "./warm.ts";

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
  /** Where snapshots of booted machines are kept; without it, this one boots. */
  readonly snapshots?: string | undefined;
  readonly onConsole?: ((bytes: Uint8Array) => void) | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
  readonly onWarning?: ((text: string) => void) | undefined;
}

/** Tag of the share that is the container's root. */
export const ROOT_TAG = "rootfs";

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
    const sandbox = await openWarm(request, directories);
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
      if (!cgroups) checkLimits(resources);
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

async function connectGuest(
  agent: Sandbox["kernel"],
  { interfaces, plug }: GuestNetwork,
): Promise<void> {
  plug?.();
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
