/** Which CPU a machine gets, and why: design.md's ladder. Nothing is ever silently weaker. */
import { accessSync, constants, readFileSync } from "node:fs";
import { hasHardwareVirtualization } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";

export type CpuKind = "kvm" | "software";

export interface CpuChoice {
  readonly cpu: CpuKind;
  /** One sentence, for those who ask. */
  readonly reason: string;
}

const SOFTWARE = "use --cpu software, which needs nothing of the machine";

/** @throws ContainerError when KVM is asked for and cannot serve */
export function chooseCpu(wanted: "auto" | CpuKind): CpuChoice {
  if (wanted === "software") return { cpu: "software", reason: "the software CPU was asked for" };
  const problem = kvmProblem();
  if (problem === undefined)
    return { cpu: "kvm", reason: "/dev/kvm can be used, with hardware behind it" };
  if (wanted === "auto") return { cpu: "software", reason: `KVM cannot be used: ${problem}` };
  throw new ContainerError(`Cannot use KVM: ${problem}`, { hint: SOFTWARE });
}

function kvmProblem(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `this is ${process.platform} on ${process.arch}, expected linux on x64`;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === "ENOENT" ? "/dev/kvm does not exist" : `/dev/kvm cannot be opened (${code})`;
  }
  // A KVM without it interprets every instruction, at about a million a second.
  if (hasHardwareVirtualization(readFileSync("/proc/cpuinfo", "utf8"))) return undefined;
  return "the processor shows neither vmx nor svm, so guests would be interpreted";
}
