/**
 * Mounting the layers of a container as one file system.
 *
 * The plan is rows of a syscall program, so that a container's child can run it in its own mount
 * namespace. mount(2) takes one page of options; with paths relative to `layers/` some 160 layers
 * fit into it. For more, fsconfig's "lowerdir+" adds them one by one (Linux 6.8 and later;
 * Documentation/filesystems/overlayfs.rst, "Multiple lower layers"). overlayfs itself takes 500.
 */
import {
  type Argument,
  AT_FDCWD,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOVE_MOUNT_F_EMPTY_PATH,
  type Row,
  runProgram,
} from "../../linux/index.ts";
import { StoreError } from "../errors.ts";

export const MAX_OVERLAY_LAYERS = 500;
const MAX_OPTION_BYTES = 4095;

export interface OverlayRequest {
  /** Working directory that the other paths are relative to. */
  readonly layersDirectory: string;
  /** Uppermost first. */
  readonly lower: readonly string[];
  /** Holds `upper` and `work`. */
  readonly container: string;
  /** Absolute path to mount on. */
  readonly target: string;
  readonly userXattr: boolean;
  readonly volatile: boolean;
}

export interface OverlayMount {
  readonly target: string;
  /** Options as mount(8) would take them, for messages and `explain`. */
  readonly options: string;
  /**
   * Rows that mount it on `target`. They change the working directory; a label or result that
   * they use begins with "overlay".
   */
  rows(): Row[];
}

export function planOverlay(request: OverlayRequest): OverlayMount {
  const { lower, container, target } = request;
  if (lower.length === 0)
    throw new StoreError("Cannot mount an image without layers: overlayfs needs at least one");
  if (lower.length > MAX_OVERLAY_LAYERS)
    throw new StoreError(
      `Cannot mount ${lower.length} layers: overlayfs takes ${MAX_OVERLAY_LAYERS} at most`,
      { hint: "rebuild the image with fewer layers" },
    );
  const settings = [
    ["upperdir", `${container}/upper`],
    ["workdir", `${container}/work`],
  ] as const;
  const flags = [
    ...(request.userXattr ? ["userxattr"] : []),
    ...(request.volatile ? ["volatile"] : []),
  ];
  const options = [
    `lowerdir=${lower.join(":")}`,
    ...settings.map(([key, value]) => `${key}=${value}`),
    ...flags,
  ].join(",");
  const rows =
    options.length <= MAX_OPTION_BYTES
      ? () => mountRows(request, options)
      : () => fsconfigRows(request, settings, flags);
  return { target, options, rows };
}

/** Mounts it in the calling process's mount namespace. */
export function mountOverlay(mount: OverlayMount): void {
  // In a child, for the working directory is the whole process's.
  const outcome = runProgram({ rows: forked(mount.rows()) });
  const { failure } = outcome;
  if (failure !== undefined)
    throw new StoreError(
      `Cannot mount the layers on "${mount.target}": ${failure.call} failed with ${failure.errno}`,
      failure.errno === "EINVAL" ? { hint: "the kernel's log may say more: dmesg" } : {},
    );
}

function forked(rows: readonly Row[]): Row[] {
  const SIGCHLD = 17;
  const WALL = 0x4000_0000;
  return [
    { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "overlay-child" },
    { jump: "overlay-parent", if: [{ last: true }, "!=", 0] },
    // A child that fails must not come back here: it would be a second copy of this program.
    ...rows.map((row) => ("call" in row ? { ...row, onError: "overlay-failed" } : row)),
    { call: "exit_group", args: [0] },
    { label: "overlay-failed" },
    { call: "exit_group", args: [1] },
    { label: "overlay-parent" },
    { call: "wait4", args: [{ result: "overlay-child" }, 0, WALL, 0] },
    { end: 0 },
  ];
}

function mountRows({ layersDirectory, target }: OverlayRequest, options: string): Row[] {
  return [
    { call: "chdir", args: [layersDirectory], note: "layer names are relative to it" },
    {
      call: "mount",
      args: ["overlay", target, "overlay", 0, options],
      note: "the image's layers and the container's own directory as one",
    },
  ];
}

function fsconfigRows(
  { layersDirectory, lower, target }: OverlayRequest,
  settings: readonly (readonly [string, string])[],
  flags: readonly string[],
): Row[] {
  const fs: Argument = { result: "overlay-fs" };
  const set = (key: string, value: string): Row => ({
    call: "fsconfig",
    args: [fs, FSCONFIG_SET_STRING, key, value, 0],
  });
  return [
    { call: "chdir", args: [layersDirectory], note: "layer names are relative to it" },
    { call: "fsopen", args: ["overlay", FSOPEN_CLOEXEC], as: "overlay-fs" },
    ...lower.map((name) => set("lowerdir+", name)),
    ...settings.map(([key, value]) => set(key, value)),
    ...flags.map((flag): Row => ({ call: "fsconfig", args: [fs, FSCONFIG_SET_FLAG, flag, 0, 0] })),
    { call: "fsconfig", args: [fs, FSCONFIG_CMD_CREATE, 0, 0, 0] },
    { call: "fsmount", args: [fs, FSMOUNT_CLOEXEC, 0], as: "overlay-mount" },
    {
      call: "move_mount",
      args: [{ result: "overlay-mount" }, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH],
      note: "the image's layers and the container's own directory as one",
    },
    { call: "close", args: [{ result: "overlay-mount" }] },
    { call: "close", args: [fs] },
  ];
}
