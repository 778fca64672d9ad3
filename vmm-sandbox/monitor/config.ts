/** What the engine tells a confined monitor about its machine. */
import { FrameError } from "./frames.ts";

export interface MonitorShare {
  readonly tag: string;
  /** In the monitor's own root. */
  readonly path: string;
  readonly readOnly: boolean;
  /** The files of it that the guest may see. */
  readonly only?: readonly string[];
}

export interface MonitorNet {
  /** A tap device, or a socket that is connected to passt. */
  readonly kind: "tap" | "passt";
  readonly fd: number;
  /** Six bytes. */
  readonly mac: readonly number[];
  /** Of the other end; Ethernet's without it. */
  readonly mtu?: number;
}

export interface MonitorSnapshot {
  readonly kind: "save" | "restore";
  readonly fd: number;
  /** 32 bytes in hexadecimal. */
  readonly key: string;
}

/** Numbers that end in Fd are descriptors which the monitor was started with. */
export interface MonitorConfig {
  readonly cpu: "kvm" | "software";
  readonly cpus: number;
  readonly memorySizeBytes: number;
  readonly commandLine: string;
  /** Of the kernel that is booted, unless the machine is restored. */
  readonly kernelFd?: number;
  /** Of /dev/kvm. */
  readonly kvmFd?: number;
  readonly disks: readonly { readonly fd: number; readonly readOnly: boolean }[];
  readonly shares: readonly MonitorShare[];
  readonly nets: readonly MonitorNet[];
  readonly snapshot?: MonitorSnapshot;
  /** The monitor runs from source files, which its threads still have to read. */
  readonly fromSource: boolean;
}

/** JSON of a frame as an object; the fields that are read from it are checked one by one. */
export function parseObject(payload: Uint8Array): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(Buffer.from(payload).toString());
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FrameError("Expected a JSON object");
  // SAFE: an object that is no array has string keys.
  return value as Readonly<Record<string, unknown>>;
}
