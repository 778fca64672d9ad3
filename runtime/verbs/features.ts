/** `features`: what this runtime can do; runtime-spec 1.3 features.md. */
import { capabilityNames } from "../capabilities.ts";
import { readText } from "../files.ts";
import { mountOptionNames } from "../launch/mount-options.ts";
import { namespaceFlags } from "../launch/namespaces.ts";
import { memoryPolicyFlags, memoryPolicyModes } from "../launch/placement.ts";
import { seccompActions, seccompFlags, seccompOperators } from "../seccomp/compile.ts";
import { ociVersion } from "../state.ts";
import type { VerbContext } from "./context.ts";

export function features(_args: readonly string[], { print }: VerbContext): number {
  const document = {
    ociVersionMin: "1.0.0",
    ociVersionMax: ociVersion,
    hooks: [
      "prestart",
      "createRuntime",
      "createContainer",
      "startContainer",
      "poststart",
      "poststop",
    ],
    mountOptions: mountOptionNames,
    linux: {
      namespaces: Object.keys(namespaceFlags).sort(),
      capabilities: capabilityNames.filter((_, number) => number <= lastCapability()),
      cgroup: { v1: true, v2: true, systemd: true, systemdUser: true, rdma: true },
      seccomp: {
        enabled: true,
        actions: seccompActions,
        operators: seccompOperators,
        archs: ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        knownFlags: seccompFlags,
        supportedFlags: seccompFlags,
      },
      apparmor: { enabled: true },
      selinux: { enabled: true },
      intelRdt: { enabled: true, schemata: true, monitoring: true },
      memoryPolicy: { modes: memoryPolicyModes, flags: memoryPolicyFlags },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: true },
    },
    annotations: { "org.manyworlds.checkpoint.enabled": "false" },
    // features.md: a name that ends in a dot stands for all that begin with it.
    potentiallyUnsafeConfigAnnotations: ["org.systemd.property."],
  };
  print(`${JSON.stringify(document, undefined, 2)}\n`);
  return 0;
}

function lastCapability(): number {
  return Number(readText("/proc/sys/kernel/cap_last_cap"));
}
