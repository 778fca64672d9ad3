/** Whether a container is to run in a virtual machine: what the command line and its bundle say. */
import { type RuntimeConfig, SpecError } from "../../oci/index.ts";

/** "vm" or "container"; for those who cannot choose a runtime for each container. */
export const ISOLATION_ANNOTATION = "dev.manyworlds.isolation";

export interface MachineWish {
  readonly cpu: "auto" | "kvm" | "software";
  /** Path of the guest's kernel, or a directory with one. */
  readonly kernel?: string;
  /** Boot, whether or not there is a snapshot of a machine like it; make none either. */
  readonly cold?: boolean;
}

/** What the command line says. */
export interface IsolationWish extends MachineWish {
  /** undefined: as the annotation says, else a container. */
  readonly isolation: "vm" | "container" | undefined;
}

/** undefined: a container. An annotation never weakens what the command line says. */
export function wantsMachine(
  { annotations }: RuntimeConfig,
  { isolation, ...wish }: IsolationWish,
): MachineWish | undefined {
  const annotated = annotations?.[ISOLATION_ANNOTATION];
  if (annotated !== undefined && annotated !== "vm" && annotated !== "container")
    throw broken(`is ${JSON.stringify(annotated)}, expected "vm" or "container"`);
  if (isolation !== undefined && annotated !== undefined && isolation !== annotated)
    throw broken(`is "${annotated}", but this runtime was told to use --isolation=${isolation}`);
  if ((isolation ?? annotated) !== "vm" || isPodSandbox(annotations ?? {})) return undefined;
  return wish;
}

/**
 * A pod's own container does nothing but hold the namespaces that the others join: in a machine it
 * would hold none of this kernel's.
 */
function isPodSandbox(annotations: Readonly<Record<string, string>>): boolean {
  return podRoles.some((name) => annotations[name] === "sandbox");
}

/** A container of a pod joins namespaces by path. */
export function isInPod(annotations: Readonly<Record<string, string>> = {}): boolean {
  return podRoles.some((name) => annotations[name] === "container");
}

/** containerd's, and CRI-O's. */
const podRoles = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];

function broken(problem: string): SpecError {
  const path = `annotations["${ISOLATION_ANNOTATION}"]`;
  return new SpecError({ document: "config.json", path, problem });
}
