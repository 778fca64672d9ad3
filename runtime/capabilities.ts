/** Capabilities by number: capabilities(7), linux/capability.h of Linux 6.18. */
import {
  call,
  cap_user_data,
  cap_user_header,
  LINUX_CAPABILITY_VERSION_3,
} from "../linux/index.ts";

// biome-ignore format: table
export const capabilityNames = [
  "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
  "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
  "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
] as const;

export const CAP_SYS_ADMIN = 21;

/**
 * The set as a 64-bit mask. Names that this kernel generation does not know are left out, as the
 * specification wishes ("unknown to the runtime or kernel: warn").
 */
export function capabilityMask(names: readonly string[] = []): bigint {
  let mask = 0n;
  for (const name of names) {
    const number = (capabilityNames as readonly string[]).indexOf(name);
    if (number >= 0) mask |= 1n << BigInt(number);
  }
  return mask;
}

export function unknownCapabilities(names: readonly string[] = []): readonly string[] {
  return names.filter((name) => !(capabilityNames as readonly string[]).includes(name));
}

/** What this process could grant; in a new user namespace everything. */
export function permittedCapabilities(): bigint {
  const header = cap_user_header.encode({ version: LINUX_CAPABILITY_VERSION_3, pid: 0 });
  const data = new Uint8Array(2 * cap_user_data.sizeBytes);
  call("capget", header, data);
  const low = cap_user_data.decode(data).permitted;
  const high = cap_user_data.decode(data, cap_user_data.sizeBytes).permitted;
  return (BigInt(high) << 32n) | BigInt(low);
}

export const everyCapability = (1n << 64n) - 1n;
