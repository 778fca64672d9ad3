/**
 * The guest's own root and the image's root in it, as a program for the agent.
 *
 * ```
 * /            tmpfs; replaces the initramfs, from which nothing can pivot_root
 * /dev /proc /sys /dev/pts /dev/shm /sys/fs/cgroup
 * /lower       the image: EROFS on the first disk, read-only
 * /scratch     tmpfs, or a file system on the second disk
 * /rootfs      overlay of both: a container's root; or a directory of the host, by virtio-fs
 * ```
 */
import {
  BLKGETSIZE64,
  MS_MOVE,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  O_CLOEXEC,
  O_WRONLY,
  type Program,
  type Row,
  timespec,
} from "../linux/index.ts";

export type GuestRootOptions = ImageRoot | SharedRoot;

export interface ImageRoot {
  /** Disk with the image's EROFS. */
  readonly imageDisk: string;
  /** Disk for what the container writes, and its file system; memory by default. */
  readonly scratch?: { readonly disk: string; readonly type: string };
}

export interface SharedRoot {
  /** Tag of the virtio-fs device that shares the root. */
  readonly shareTag: string;
}

/** Where a container's root is once the program has run. */
export const GUEST_ROOTFS = "/rootfs";

const BASE = "/base";
/** Ten seconds in all. */
const [DISK_NAP_NS, DISK_NAPS] = [500_000n, 20_000];
const kernelMount = MS_NOSUID | MS_NOEXEC | MS_NODEV;

/** Runs in PID 1, so that everything started later is in the new root. */
export function planGuestRoot(options: GuestRootOptions): Program {
  return {
    rows: [
      makeDirectory(BASE),
      { call: "mount", args: ["base", BASE, "tmpfs", MS_NOSUID, "mode=755"] },
      ...mountKernelFiles(),
      ...letIdle(),
      ...("shareTag" in options ? mountShare(options) : mountImage(options)),
      { call: "chdir", args: [BASE] },
      { call: "mount", args: [".", "/", 0, MS_MOVE, 0], note: "over the initramfs" },
      { call: "chroot", args: ["."] },
      { call: "chdir", args: ["/"] },
      { end: 0 },
    ],
    buffers: { size: 8, naps: 8 },
  };
}

/** The same in a mount namespace of its own, with an empty root, for practice. */
export function rehearseGuestRoot(): readonly Row[] {
  const upper = `${BASE}/scratch`;
  return [
    makeDirectory(BASE),
    { call: "mount", args: ["base", BASE, "tmpfs", MS_NOSUID, "mode=755"] },
    ...mountKernelFiles(),
    ...[`${BASE}/lower`, upper, `${BASE}${GUEST_ROOTFS}`].map(makeDirectory),
    { call: "mount", args: ["scratch", upper, "tmpfs", 0, "mode=755"] },
    makeDirectory(`${upper}/upper`),
    makeDirectory(`${upper}/work`),
    {
      call: "mount",
      args: ["overlay", `${BASE}${GUEST_ROOTFS}`, "overlay", 0, overlayOf(`${BASE}/lower`, upper)],
    },
    { call: "chdir", args: [BASE] },
    { call: "mount", args: [".", "/", 0, MS_MOVE, 0] },
    { call: "chroot", args: ["."] },
    { call: "chdir", args: [`.${GUEST_ROOTFS}`] },
  ];
}

function overlayOf(lower: string, upper: string): string {
  return `lowerdir=${lower},upperdir=${upper}/upper,workdir=${upper}/work`;
}

function mountKernelFiles(): readonly Row[] {
  return [
    ...["dev", "proc", "sys", "run", "tmp"].map((name) => makeDirectory(`${BASE}/${name}`)),
    { call: "mount", args: ["dev", `${BASE}/dev`, "devtmpfs", MS_NOSUID | MS_NOEXEC, 0] },
    makeDirectory(`${BASE}/dev/pts`),
    makeDirectory(`${BASE}/dev/shm`),
    {
      call: "mount",
      args: [
        "devpts",
        `${BASE}/dev/pts`,
        "devpts",
        MS_NOSUID | MS_NOEXEC,
        "ptmxmode=666,mode=620,gid=5",
      ],
    },
    { call: "mount", args: ["shm", `${BASE}/dev/shm`, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"] },
    { call: "mount", args: ["proc", `${BASE}/proc`, "proc", kernelMount, 0] },
    { call: "mount", args: ["sys", `${BASE}/sys`, "sysfs", kernelMount, 0] },
    {
      call: "mount",
      args: ["cgroup2", `${BASE}/sys/fs/cgroup`, "cgroup2", kernelMount, 0],
      ignore: ["ENOENT", "ENODEV"],
      note: "a kernel without cgroups has no limits to set",
    },
  ];
}

/**
 * kcompactd looks every half second whether memory should be defragmented ahead of need, which wakes
 * an idle guest six times a second. sysctl/vm.rst, "compaction_proactiveness"; since Linux 5.9.
 */
function letIdle(): readonly Row[] {
  const path = `${BASE}/proc/sys/vm/compaction_proactiveness`;
  const file = { result: "compaction" };
  return [
    {
      call: "openat",
      args: [-100, path, O_WRONLY | O_CLOEXEC, 0],
      as: "compaction",
      onError: "idle",
    },
    { call: "write", args: [file, "0", 1] },
    { call: "close", args: [file] },
    { label: "idle" },
  ];
}

function mountShare({ shareTag }: SharedRoot): readonly Row[] {
  const place = `${BASE}${GUEST_ROOTFS}`;
  return [
    makeDirectory(place),
    { call: "mount", args: [shareTag, place, "virtiofs", 0, 0], note: "the shared root" },
  ];
}

function mountImage({ imageDisk, scratch }: ImageRoot): readonly Row[] {
  const lower = `${BASE}/lower`;
  const upper = `${BASE}/scratch`;
  const disk = `${BASE}${imageDisk}`;
  const overlay = overlayOf(lower, upper);
  return [
    ...[lower, upper, `${BASE}${GUEST_ROOTFS}`].map(makeDirectory),
    ...awaitDisk(disk),
    { call: "mount", args: [disk, lower, "erofs", MS_RDONLY, 0], note: "the image" },
    scratch === undefined
      ? { call: "mount", args: ["scratch", upper, "tmpfs", 0, "mode=755"] }
      : { call: "mount", args: [`${BASE}${scratch.disk}`, upper, scratch.type, 0, 0] },
    makeDirectory(`${upper}/upper`),
    makeDirectory(`${upper}/work`),
    { call: "mount", args: ["overlay", `${BASE}${GUEST_ROOTFS}`, "overlay", 0, overlay] },
  ];
}

/** A disk that was put into its drive a moment ago has no size until the driver has looked. */
function awaitDisk(disk: string): readonly Row[] {
  const nap = timespec.encode({ tv_sec: 0n, tv_nsec: DISK_NAP_NS });
  return [
    { call: "openat", args: [-100, disk, O_CLOEXEC, 0], as: "disk", note: "the image" },
    { store: { buffer: "naps" }, value: DISK_NAPS, width: 8 },
    { label: "size" },
    { call: "ioctl", args: [{ result: "disk" }, BLKGETSIZE64, { buffer: "size" }] },
    { jump: "sized", if: [{ load: "size", width: 8 }, "!=", 0] },
    { call: "nanosleep", args: [nap, 0] },
    { compute: [{ load: "naps", width: 8 }, "-", 1], as: "left" },
    { store: { buffer: "naps" }, value: { result: "left" }, width: 8 },
    // A disk without sectors: mounting it says so.
    { jump: "size", if: [{ result: "left" }, ">", 0] },
    { label: "sized" },
    { call: "close", args: [{ result: "disk" }] },
  ];
}

function makeDirectory(path: string): Row {
  return { call: "mkdir", args: [path, 0o755], ignore: ["EEXIST"] };
}
