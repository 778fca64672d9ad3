/** All checks of this machine, in the order a person reads them. */
import { syscall } from "../../linux/index.ts";
import { defaultStateRoot } from "../state-root.ts";
import type { Finding } from "./finding.ts";
import {
  checkAppArmor,
  checkKernel,
  checkNamespaces,
  checkPrivileges,
  checkSeccomp,
  checkSubordinateIds,
  checkUserNamespaces,
  seccompActionAvailable,
} from "./kernel-checks.ts";
import { checkGuestKernel, checkKvm, listRungs, type Rung } from "./rungs.ts";
import {
  checkCgroups,
  checkNetworkNamespaceDevices,
  checkOverlay,
  checkStateRoot,
} from "./storage-checks.ts";

export type { Finding } from "./finding.ts";
export type { Rung } from "./rungs.ts";

export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly rungs: readonly Rung[];
}

export function diagnose(stateRoot: string = defaultStateRoot(process.env)): Diagnosis {
  const findings = [
    checkKernel(),
    checkPrivileges(),
    checkNamespaces(),
    checkUserNamespaces(),
    checkSubordinateIds(),
    checkStateRoot(stateRoot),
    checkOverlay(stateRoot),
    checkCgroups(),
    checkSeccomp((action) => syscall("seccomp", seccompActionAvailable, 0, action)),
    checkAppArmor(),
    checkNetworkNamespaceDevices(),
    checkKvm(),
    checkGuestKernel(stateRoot),
  ];
  return { findings, rungs: listRungs(findings) };
}
