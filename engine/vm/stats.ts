/** What a machine's CPU has counted, and which CPU that was. */
import type { CpuReport } from "../../vmm-sandbox/index.ts";

export interface MachineStats {
  readonly cpu: "kvm" | "software";
  /** Why it is this one. */
  readonly reason: string;
  /** Undefined where nothing is counted: on KVM, or when the machine was lost. */
  readonly report: CpuReport | undefined;
}
