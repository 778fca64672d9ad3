/** Bind mounts as directories (or single files) that a guest sees through virtio-fs. */
import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { ContainerError } from "../errors.ts";
import type { BindMount, ContainerOptions } from "../options.ts";
import type { HostShare } from "./machine.ts";

/** Interrupt lines that are left when disk, console, entropy and vsock have theirs. */
const MAX_SHARES = 14;

export interface SharePlan {
  readonly shares: readonly HostShare[];
  /** Where a mount's source lies in the guest. */
  readonly sourceOf: (mount: BindMount) => string;
  /** Those sources that are files. */
  readonly files: readonly string[];
}

export function planShares({ mounts = [] }: Pick<ContainerOptions, "mounts">): SharePlan {
  const binds = mounts.filter((mount): mount is BindMount => mount.type === "bind");
  const shares: HostShare[] = [];
  const places = new Map<string, string>();
  const files: string[] = [];
  for (const mount of binds) {
    const { source, readOnly = false } = mount;
    const key = keyOf(mount);
    if (places.has(key)) continue;
    if (shares.length >= MAX_SHARES)
      throw new ContainerError(
        `Cannot mount more than ${MAX_SHARES} host directories in a virtual machine`,
      );
    const tag = `volume${shares.length}`;
    const target = `/volumes/${shares.length}`;
    if (isDirectory(mount)) {
      shares.push({ tag, target, readOnly, source });
      places.set(key, target);
      continue;
    }
    const only = basename(source);
    shares.push({ tag, target, readOnly, source: dirname(source), only: [only] });
    places.set(key, `${target}/${only}`);
    files.push(`${target}/${only}`);
  }
  return { shares, files, sourceOf: (mount) => places.get(keyOf(mount)) ?? mount.source };
}

function keyOf({ source, readOnly = false }: BindMount): string {
  return `${readOnly ? "ro" : "rw"} ${source}`;
}

/** A missing source becomes a directory, when the caller wants it made. */
function isDirectory({ source, createSource = false }: BindMount): boolean {
  const stat = statSync(source, { throwIfNoEntry: false });
  if (stat === undefined) {
    if (createSource) return true;
    throw new ContainerError(`Cannot mount "${source}": the host has no such file or directory`);
  }
  if (stat.isDirectory()) return true;
  if (stat.isFile()) return false;
  throw new ContainerError(
    `Cannot mount "${source}" in a virtual machine: expected a directory or a regular file`,
  );
}
