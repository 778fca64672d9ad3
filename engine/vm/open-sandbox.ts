/**
 * A machine with its agent, from what a container asks for: in a confined process of its own, or, for
 * the software CPU where confinement is refused, in this one.
 */
import { readFileSync } from "node:fs";
import { hasNativeCode } from "../../linux/index.ts";
import {
  ConfinementError,
  type GuestKernel,
  openSoftwareBackend,
  type Sandbox,
  type SnapshotConfig,
  startConfinedSandbox,
  startSandbox,
  VirtioFs,
} from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { KernelFiles } from "./guest-kernel.ts";
import { type HostShare, type MachineRequest, ROOT_TAG } from "./machine.ts";

/** Behind the kernel parameters that every guest gets. */
export function commandLineOf({ onConsole }: Pick<MachineRequest, "onConsole">): string {
  return onConsole === undefined ? "" : "loglevel=7";
}

/** With the root's directory, if it is one, as the first. */
export function sharesOf({
  root,
  shares,
}: Pick<MachineRequest, "root" | "shares">): readonly HostShare[] {
  if ("image" in root) return shares;
  return [{ tag: ROOT_TAG, target: "", readOnly: false, source: root.directory }, ...shares];
}

/** `directories`: those that this process serves itself; the caller's to close. */
export async function openSandbox(
  request: MachineRequest,
  directories: VirtioFs[],
  snapshot?: SnapshotConfig,
): Promise<Sandbox> {
  const { cpu, cpus, memoryBytes: memorySizeBytes, kernel, root, network, onConsole } = request;
  const shares = sharesOf(request);
  const modules = snapshot?.kind === "restore" ? [] : readModules(kernel);
  const common = {
    disks: "image" in root ? [{ path: root.image, readOnly: true }] : [],
    commandLine: commandLineOf(request),
    ...(onConsole !== undefined && { onConsole }),
    ...(snapshot !== undefined && { snapshot }),
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
  const image = snapshot?.kind === "restore" ? new Uint8Array(0) : readKernel(kernel);
  return await startSandbox({
    ...common,
    backend: await openSoftwareBackend({ memorySizeBytes }),
    kernel: { image, modules },
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
