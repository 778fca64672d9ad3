/**
 * Options of a mount in config.json, as fstab and runc spell them.
 * Source: runtime-spec 1.3 config.md "Linux mount options"; mount(8); mount_setattr(2).
 */
import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NODIRATIME,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_NOSYMFOLLOW,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_RELATIME,
  MOUNT_ATTR_STRICTATIME,
  MS_BIND,
  MS_DIRSYNC,
  MS_I_VERSION,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  MS_SHARED,
  MS_SILENT,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
} from "../../linux/index.ts";

interface Flag {
  readonly set?: number;
  readonly clear?: number;
  /** The same as an attribute of one mount, for binds. */
  readonly attribute?: number;
  /** Attributes to take away. */
  readonly noAttribute?: number;
}

const atime = { noAttribute: MOUNT_ATTR__ATIME };

// biome-ignore format: table
const flags: Readonly<Record<string, Flag>> = {
  defaults: {},
  async: { clear: MS_SYNCHRONOUS }, sync: { set: MS_SYNCHRONOUS },
  atime: { clear: MS_NOATIME, ...atime },
  noatime: { set: MS_NOATIME, ...atime, attribute: MOUNT_ATTR_NOATIME },
  bind: { set: MS_BIND }, rbind: { set: MS_BIND | MS_REC },
  dev: { clear: MS_NODEV, noAttribute: MOUNT_ATTR_NODEV },
  nodev: { set: MS_NODEV, attribute: MOUNT_ATTR_NODEV },
  diratime: { clear: MS_NODIRATIME, noAttribute: MOUNT_ATTR_NODIRATIME },
  nodiratime: { set: MS_NODIRATIME, attribute: MOUNT_ATTR_NODIRATIME },
  dirsync: { set: MS_DIRSYNC },
  exec: { clear: MS_NOEXEC, noAttribute: MOUNT_ATTR_NOEXEC },
  noexec: { set: MS_NOEXEC, attribute: MOUNT_ATTR_NOEXEC },
  iversion: { set: MS_I_VERSION }, noiversion: { clear: MS_I_VERSION },
  lazytime: { set: MS_LAZYTIME }, nolazytime: { clear: MS_LAZYTIME },
  loud: { clear: MS_SILENT }, silent: { set: MS_SILENT },
  mand: { set: MS_MANDLOCK }, nomand: { clear: MS_MANDLOCK },
  relatime: { set: MS_RELATIME, ...atime, attribute: MOUNT_ATTR_RELATIME },
  norelatime: { clear: MS_RELATIME, ...atime, attribute: MOUNT_ATTR_STRICTATIME },
  strictatime: { set: MS_STRICTATIME, ...atime, attribute: MOUNT_ATTR_STRICTATIME },
  nostrictatime: { clear: MS_STRICTATIME, ...atime },
  ro: { set: MS_RDONLY, attribute: MOUNT_ATTR_RDONLY },
  rw: { clear: MS_RDONLY, noAttribute: MOUNT_ATTR_RDONLY },
  suid: { clear: MS_NOSUID, noAttribute: MOUNT_ATTR_NOSUID },
  nosuid: { set: MS_NOSUID, attribute: MOUNT_ATTR_NOSUID },
  symfollow: { clear: MS_NOSYMFOLLOW, noAttribute: MOUNT_ATTR_NOSYMFOLLOW },
  nosymfollow: { set: MS_NOSYMFOLLOW, attribute: MOUNT_ATTR_NOSYMFOLLOW },
  remount: { set: MS_REMOUNT },
};

// biome-ignore format: table
const propagations: Readonly<Record<string, number>> = {
  private: MS_PRIVATE, rprivate: MS_PRIVATE | MS_REC,
  shared: MS_SHARED, rshared: MS_SHARED | MS_REC,
  slave: MS_SLAVE, rslave: MS_SLAVE | MS_REC,
  unbindable: MS_UNBINDABLE, runbindable: MS_UNBINDABLE | MS_REC,
};

/** Attributes of a whole tree of mounts: the attribute's name behind an "r". */
// biome-ignore format: table
const recursive: readonly string[] = [
  "rro", "rrw", "rsuid", "rnosuid", "rdev", "rnodev", "rexec", "rnoexec", "rdiratime",
  "rnodiratime", "rrelatime", "rnorelatime", "ratime", "rnoatime", "rstrictatime",
  "rnostrictatime", "rsymfollow", "rnosymfollow",
];

/** Spelled like options but meant for the runtime. */
export const runtimeOptions = ["tmpcopyup", "idmap", "ridmap"] as const;

export const mountOptionNames: readonly string[] = [
  ...Object.keys(flags),
  ...Object.keys(propagations),
  ...recursive,
  ...runtimeOptions,
].sort();

export interface MountAttributes {
  readonly set: number;
  readonly clear: number;
}

export interface ParsedOptions {
  /** MS_* for mount(2). */
  readonly flags: number;
  /** MOUNT_ATTR_* that the options name. */
  readonly attributes: MountAttributes;
  /** The same for the whole tree. */
  readonly recursive: MountAttributes;
  readonly propagations: readonly number[];
  /** What the file system itself is told. */
  readonly data: string;
  readonly runtime: ReadonlySet<string>;
}

/** Every part of a launch asks for the same few lists. */
const parsed = new WeakMap<readonly string[], ParsedOptions>();
const noOptions: readonly string[] = [];

/** Later options win over earlier ones; unknown ones are the file system's. */
export function parseMountOptions(options: readonly string[] = noOptions): ParsedOptions {
  let known = parsed.get(options);
  if (known === undefined) {
    known = parseOptions(options);
    parsed.set(options, known);
  }
  return known;
}

function parseOptions(options: readonly string[]): ParsedOptions {
  let bits = 0;
  const attributes = { set: 0, clear: 0 };
  const tree = { set: 0, clear: 0 };
  const found: number[] = [];
  const data: string[] = [];
  const runtime = new Set<string>();
  for (const option of options) {
    const flag = own(flags, option);
    const propagation = own(propagations, option);
    if (flag !== undefined) {
      bits = (bits & ~(flag.clear ?? 0)) | (flag.set ?? 0);
      applyAttribute(attributes, flag);
    } else if (propagation !== undefined) found.push(propagation);
    else if (recursive.includes(option)) applyAttribute(tree, own(flags, option.slice(1)) ?? {});
    else if (runtimeOptions.some((name) => name === option)) runtime.add(option);
    else data.push(option);
  }
  return {
    flags: bits,
    attributes,
    recursive: tree,
    propagations: found,
    data: data.join(","),
    runtime,
  };
}

function applyAttribute(
  state: { set: number; clear: number },
  { attribute, noAttribute = 0 }: Flag,
): void {
  state.set = (state.set & ~noAttribute) | (attribute ?? 0);
  state.clear = (state.clear | noAttribute) & ~(attribute === undefined ? 0 : nonAtime(attribute));
}

/** The access-time modes are one field, which is always cleared as a whole. */
function nonAtime(attribute: number): number {
  return attribute & ~MOUNT_ATTR__ATIME;
}

function own<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}
