/**
 * Which capabilities a container gets. The default set and the rules for ALL are docker's
 * (docs.docker.com/engine/containers/run, "Runtime privilege and Linux capabilities").
 */
import { ContainerError } from "../errors.ts";

/** capabilities(7) in the kernel's order: the index is the number. */
// biome-ignore format: table
export const allCapabilities = [
  "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
  "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
  "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
  "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
  "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
  "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
].map((name) => `CAP_${name}`);

// biome-ignore format: table
const defaults = [
  "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
  "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
  "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
];

interface CapabilityOptions {
  readonly privileged?: boolean;
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
}

/** The set, in the kernel's order. `held` is what we have ourselves: nobody can give more. */
export function chooseCapabilities(
  { privileged = false, capAdd = [], capDrop = [] }: CapabilityOptions,
  held: readonly string[],
): readonly string[] {
  if (privileged) return held;
  const added = capAdd.map((name) => normalize(name, "--cap-add"));
  const dropped = capDrop.map((name) => normalize(name, "--cap-drop"));
  const missing = added.find((name) => name !== "ALL" && !held.includes(name));
  if (missing !== undefined) {
    throw new ContainerError(`Cannot give the container ${missing}: manyworlds does not have it`, {
      hint: "run manyworlds as root, or in a container that has this capability",
    });
  }
  const base = chooseBase(added, dropped, held);
  const chosen = new Set([...base, ...added]);
  return allCapabilities.filter((name) => chosen.has(name) && held.includes(name));
}

/** docker's order of precedence: --cap-drop ALL, then --cap-add ALL, then the default set. */
function chooseBase(
  added: readonly string[],
  dropped: readonly string[],
  held: readonly string[],
): readonly string[] {
  if (dropped.includes("ALL")) return added.includes("ALL") ? held : [];
  const base = added.includes("ALL") ? held : defaults;
  return base.filter((name) => !dropped.includes(name));
}

function normalize(name: string, flag: string): string {
  const upper = name.toUpperCase();
  if (upper === "ALL") return upper;
  const full = upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
  if (allCapabilities.includes(full)) return full;
  throw new ContainerError(
    `Cannot use ${flag} "${name}": expected a capability such as NET_ADMIN`,
    {
      hint: "see capabilities(7) for their names",
    },
  );
}

/** Names of the bits in a mask as /proc/self/status writes it ("CapBnd:"). */
export function namesOfMask(mask: bigint): readonly string[] {
  return allCapabilities.filter((_, bit) => (mask & (1n << BigInt(bit))) !== 0n);
}
