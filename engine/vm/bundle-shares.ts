/**
 * Bind mounts of a bundle as directories that the guest sees. Files of one directory share it:
 * engines bind several (hosts, hostname, resolv.conf) from one, and a machine has few devices. Pure
 * but for looking what each source is.
 */
import { basename, dirname } from "node:path";
import type { Mount, RuntimeConfig } from "../../oci/index.ts";
import { isBind } from "../../runtime/index.ts";
import { ContainerError } from "../errors.ts";
import type { HostShare } from "./machine.ts";

/** Interrupt lines that are left when root, console, entropy, vsock and one network have theirs. */
export const MAX_BUNDLE_SHARES = 12;

export interface BundleShares {
  readonly shares: readonly HostShare[];
  /** The configuration with sources as the guest has them. */
  readonly config: RuntimeConfig;
  /** Those of them that are files. */
  readonly files: readonly string[];
}

/** What the host has at a path. */
export interface HostFiles {
  kindOf(path: string): "directory" | "file" | "other" | "missing";
  /** Without symlinks; of a path that is there. */
  resolve(path: string): string;
  /** Bytes of the file system that it is on. */
  sizeOf(path: string): number;
}

interface Share {
  readonly source: string;
  readonly readOnly: boolean;
  readonly only: string[] | undefined;
}

export function planBundleShares(config: RuntimeConfig, host: HostFiles): BundleShares {
  const shares = new Map<string, Share>();
  const files: string[] = [];
  const targetOf = (share: Share): string => `/volumes/${[...shares.values()].indexOf(share)}`;
  const place = (named: string, readOnly: boolean): string => {
    const kind = host.kindOf(named);
    if (kind === "missing" || kind === "other") throw refuse(named, kind);
    const source = host.resolve(named);
    const isFile = kind === "file";
    const directory = isFile ? dirname(source) : source;
    const key = `${isFile ? "files" : "whole"} ${readOnly} ${directory}`;
    const share = shares.get(key) ?? { source: directory, readOnly, only: isFile ? [] : undefined };
    shares.set(key, share);
    if (!isFile) return targetOf(share);
    const name = basename(source);
    if (share.only?.includes(name) === false) share.only.push(name);
    files.push(`${targetOf(share)}/${name}`);
    return `${targetOf(share)}/${name}`;
  };
  const mounts = (config.mounts ?? []).map((mount) => {
    if (!isBind(mount)) return mount;
    const { source = "" } = mount;
    if (mount.destination === SHARED_MEMORY) return ownMemory(host.sizeOf(source));
    return { ...mount, source: place(source, isReadOnly(mount)) };
  });
  if (shares.size > MAX_BUNDLE_SHARES)
    throw new ContainerError(
      `Cannot share ${shares.size} directories with a virtual machine: expected ${MAX_BUNDLE_SHARES} at most`,
      { hint: "mount a directory that holds them" },
    );
  return {
    config: { ...config, mounts },
    files,
    shares: [...shares.values()].map(({ source, readOnly, only }, index) => ({
      tag: `volume${index}`,
      target: `/volumes/${index}`,
      source,
      readOnly,
      ...(only !== undefined && { only }),
    })),
  };
}

/** Engines bind a tmpfs of the host's there; memory that programs share is the guest's. */
const SHARED_MEMORY = "/dev/shm";

function ownMemory(sizeBytes: number): Mount {
  const options = ["nosuid", "noexec", "nodev", "mode=1777", `size=${sizeBytes}`];
  return { destination: SHARED_MEMORY, type: "tmpfs", source: "shm", options };
}

function isReadOnly({ options }: Mount): boolean {
  return options?.some((option) => option === "ro" || option === "rro") ?? false;
}

function refuse(source: string, kind: "missing" | "other"): ContainerError {
  return new ContainerError(
    kind === "missing"
      ? `Cannot mount "${source}": the host has no such file or directory`
      : `Cannot mount "${source}" in a virtual machine: expected a directory or a regular file`,
  );
}
