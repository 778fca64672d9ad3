/** Owner, mode, times and extended attributes of what has just been made. */
import { readFileSync } from "node:fs";
import {
  AT_SYMLINK_NOFOLLOW,
  call,
  type Fd,
  type SyscallArgument,
  type SyscallName,
  syscall,
} from "../../linux/index.ts";
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { EOPNOTSUPP, EPERM, nameArgument } from "../names.ts";

export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
}

export interface AttributePolicy {
  /** False where we may not give files away: everything stays ours. */
  readonly chown: boolean;
  /** Owner and group that new files get by themselves; undefined when that is not certain. */
  readonly defaultOwner: { readonly uid: number; readonly gid: number } | undefined;
  readonly umask: number;
  /** Attributes that would speak to overlayfs instead of the container. */
  readonly forbiddenXattrs: string;
  /** Called for what this machine cannot keep. */
  warn(message: string): void;
}

/** open(2) modes that need no correction afterwards. */
export function creationMode(mode: number, policy: AttributePolicy): number {
  // Who is not root could not set xattrs on a file that he made read-only for himself.
  return policy.chown ? mode & 0o777 : 0o600;
}

/** Gives an open file or directory its attributes. Bytes are written before: write(2) drops setuid. */
export function applyToFd(
  fd: Fd,
  attributes: Attributes,
  policy: AttributePolicy,
  createdMode: number,
): void {
  const chowned = needsChown(attributes, policy);
  if (chowned) call("fchown", fd, attributes.uid, attributes.gid);
  // After chown, which drops file capabilities.
  for (const [name, value] of attributes.xattrs) {
    if (!mayKeep(name, policy)) continue;
    keepXattr(name, policy, "fsetxattr", fd, nameArgument(name), value, value.length, 0);
  }
  // chown drops setuid and setgid bits of files.
  if (attributes.mode !== (createdMode & ~policy.umask) || (chowned && attributes.mode > 0o777))
    call("fchmod", fd, attributes.mode);
  call("utimensat", fd, 0, times(attributes), 0);
}

/** The same for what cannot be opened: symlinks, devices, fifos. */
export function applyToName(
  directory: Fd,
  name: ByteString,
  attributes: Attributes,
  policy: AttributePolicy,
  isSymlink: boolean,
): void {
  const { uid, gid, mode } = attributes;
  const path = nameArgument(name);
  if (needsChown(attributes, policy))
    call("fchownat", directory, path, uid, gid, AT_SYMLINK_NOFOLLOW);
  for (const [key, value] of attributes.xattrs) {
    if (!mayKeep(key, policy)) continue;
    // A descriptor's entry in /proc is the directory itself; the last name is not followed.
    const through = nameArgument(
      `/proc/self/fd/${directory.number}/${name}` as ByteString, // SAFE: ASCII before bytes
    );
    keepXattr(key, policy, "lsetxattr", through, nameArgument(key), value, value.length, 0);
  }
  if (!isSymlink) call("fchmodat", directory, nameArgument(name), mode);
  const when = times(attributes);
  call("utimensat", directory, nameArgument(name), when, AT_SYMLINK_NOFOLLOW);
}

function needsChown(attributes: Attributes, policy: AttributePolicy): boolean {
  if (!policy.chown) return false;
  const owner = policy.defaultOwner;
  return owner === undefined || owner.uid !== attributes.uid || owner.gid !== attributes.gid;
}

function mayKeep(name: ByteString, policy: AttributePolicy): boolean {
  if (!name.startsWith(policy.forbiddenXattrs)) return true;
  policy.warn(`left out extended attribute "${byteStringToText(name)}": it would steer overlayfs`);
  return false;
}

/** File systems without xattrs and unprivileged users lose some; that is said, not fatal. */
function keepXattr(
  name: ByteString,
  policy: AttributePolicy,
  setter: SyscallName,
  ...args: readonly SyscallArgument[]
): void {
  const result = syscall(setter, ...args);
  if (result >= 0) return;
  const privileged = policy.chown && !name.startsWith("security.selinux");
  if (result === -EOPNOTSUPP || (result === -EPERM && !privileged))
    policy.warn(`left out extended attribute "${byteStringToText(name)}": not permitted here`);
  else call(setter, ...args);
}

const timesBuffer = Buffer.alloc(64); // larger than what V8 keeps on its moving heap

/** Two struct timespec, access and modification, both the entry's one time. */
function times(attributes: Attributes): Uint8Array {
  const { mtimeSeconds, mtimeNanoseconds } = attributes;
  const low = mtimeSeconds >>> 0;
  const high = Math.floor(mtimeSeconds / 2 ** 32);
  for (const at of [0, 16]) {
    timesBuffer.writeUInt32LE(low, at);
    timesBuffer.writeInt32LE(high, at + 4);
    timesBuffer.writeUInt32LE(mtimeNanoseconds, at + 8);
  }
  return timesBuffer;
}

/** How a layer's attributes are kept, by what the caller may do. */
export function attributePolicy(
  options: { readonly chown: boolean; readonly userXattr: boolean; readonly inherits?: boolean },
  warn: (message: string) => void,
): AttributePolicy {
  return {
    chown: options.chown,
    // Where files are made in directories that exist, setgid ones hand down their group.
    defaultOwner: options.inherits
      ? undefined
      : { uid: syscall("geteuid"), gid: syscall("getegid") },
    umask: readUmask(),
    forbiddenXattrs: options.userXattr ? "user.overlay." : "trusted.overlay.",
    warn,
  };
}

/** Without touching it: umask(2) can only be read by setting it, for all threads. */
function readUmask(): number {
  const match = /^Umask:\s*([0-7]+)$/m.exec(readFileSync("/proc/self/status", "latin1"));
  return Number.parseInt(match?.[1] ?? "22", 8);
}
