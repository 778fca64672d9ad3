/** What a configuration asks for, is not given, and is no error: to be logged as warnings. */
import type { RuntimeConfig } from "../oci/index.ts";
import {
  capabilityMask,
  everyCapability,
  permittedCapabilities,
  unknownCapabilities,
} from "./capabilities.ts";
import { hasSelinux } from "./security-modules.ts";

/** `isRoot`: the process begins with every capability, as in a machine of its own. */
export function* warningsOf({ process, linux }: RuntimeConfig, isRoot = false): Generator<string> {
  // config.md, "capabilities": what cannot be granted MUST be logged as a warning.
  const isMapped = linux?.namespaces?.some(({ type }) => type === "user") === true;
  const held = isMapped || isRoot ? everyCapability : permittedCapabilities();
  const names = new Set(Object.values(process?.capabilities ?? {}).flat());
  const lost = [...names].filter(
    (name) => unknownCapabilities([name]).length > 0 || (capabilityMask([name]) & ~held) !== 0n,
  );
  if (lost.length > 0)
    yield `process.capabilities: ${lost.join(", ")} cannot be granted here and are left out`;
  if (linux?.mountLabel && !hasSelinux())
    yield `linux.mountLabel: ${JSON.stringify(linux.mountLabel)} labels nothing, because this kernel has no SELinux`;
}
