/** What a virtio device is to its transport, and the transport to its device. VIRTIO 1.2 §2. */
import type { GuestMemory } from "../machine/guest-memory.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** §5: device types. */
export const deviceTypes = {
  net: 1,
  block: 2,
  console: 3,
  entropy: 4,
  balloon: 5,
  vsock: 19,
  fs: 26,
} as const;

/** §6: reserved feature bits. */
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;

/** What an activated device may use until `reset`. */
export interface Driver {
  readonly memory: GuestMemory;
  /** By index; undefined where the driver set none up. */
  readonly queues: readonly (Virtqueue | undefined)[];
  /** Negotiated. */
  readonly features: bigint;
  /** The configuration space changed: bumps its generation and interrupts. */
  configChanged(): void;
  /**
   * Runs device code that reads queues outside `notify`; what the guest broke stops the device
   * instead of the monitor.
   */
  guard(work: () => void): void;
}

export interface VirtioDevice {
  readonly name: string;
  readonly type: number;
  /** Offered besides VERSION_1, EVENT_IDX and INDIRECT_DESC, which the transport adds. */
  readonly features: bigint;
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** Device-specific configuration, from offset 0x100 of the window. Read as bytes. */
  readonly config: Uint8Array;
  /** The driver wrote configuration bytes; `config` is unchanged until the device changes it. */
  writeConfig?(offset: number, bytes: Uint8Array): void;
  activate(driver: Driver): void;
  /** Requests may be waiting in this queue. Only between `activate` and `reset`. */
  notify(queue: number): void;
  /** Forgets everything about the driver. */
  reset(): void;
  /** Plain data (structured-cloneable) for a snapshot; the transport saves queues itself. */
  save?(): unknown;
  restore?(state: unknown): void;
}
