/**
 * A tap device as the other end of a guest's cable. Documentation/networking/tuntap.rst
 *
 * It can be made in another network namespace: only this thread enters it, and comes back.
 */
import {
  AT_FDCWD,
  CLONE_NEWNET,
  call,
  Fd,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  syscall,
} from "../../linux/index.ts";
import type { NetBackend } from "../devices/net.ts";
import { Poller } from "./poller.ts";
import { Waker } from "./waker.ts";

export interface TapOptions {
  /** At most 15 bytes; `%d` in it becomes a number. An existing persistent tap is taken over. */
  readonly name: string;
  /** A network namespace's file, such as /proc/PID/ns/net; ours by default. */
  readonly namespace?: string;
}

const TUNSETIFF = 0x4004_54ca;
const IFF_TAP = 2;
const IFF_NO_PI = 0x1000;
const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;
const EAGAIN = -11;
const MAX_FRAME_BYTES = 65536 + 18;
/** Frames taken before other work gets its turn. */
const MAX_BATCH = 256;

export class Tap implements NetBackend, AsyncDisposable {
  onFrame: ((frame: Uint8Array) => void) | undefined = undefined;
  /** As the kernel chose it. */
  readonly name: string;
  /** Frames of the guest that the kernel did not take. */
  dropped = 0;
  readonly #fd: Fd;
  readonly #waker = new Waker();
  readonly #poller: Poller;
  #paused = false;
  readonly #buffer = new Uint8Array(MAX_FRAME_BYTES);

  /** What `openTap` opened is this object's from then on; otherwise throws as that does. */
  constructor(options: TapOptions | OpenTap) {
    const { fd, name } = "fd" in options ? options : openTap(options);
    this.#fd = fd;
    this.name = name;
    this.#poller = new Poller(this.#waker);
    this.#poller.watch(this.#fd, () => this.#drain());
  }

  send(frame: Uint8Array): void {
    if (syscall("write", this.#fd, frame, frame.length) !== frame.length) this.dropped++;
  }

  /** What comes meanwhile waits in the kernel's queue, and is lost when that is full. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    // A turn later: whoever says so may be inside our own loop. Edge-triggered: nobody else will.
    setImmediate(() => this.#drain());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#poller[Symbol.dispose]();
    this.#waker[Symbol.dispose]();
    this.#fd.close();
  }

  #drain(): void {
    for (let frames = 0; this.#fd.isOpen && !this.#paused; frames++) {
      if (frames === MAX_BATCH) {
        // Edge-triggered: nobody will tell us of the rest.
        setImmediate(() => this.#drain());
        return;
      }
      const length = syscall("read", this.#fd, this.#buffer, this.#buffer.length);
      if (length === EAGAIN || length <= 0) return;
      this.onFrame?.(this.#buffer.slice(0, length));
    }
  }
}

export interface OpenTap {
  readonly fd: Fd;
  /** As the kernel chose it. */
  readonly name: string;
}

/** Throws SyscallError: EPERM without CAP_NET_ADMIN, EBUSY when somebody else has the device. */
export function openTap({ name, namespace }: TapOptions): OpenTap {
  if (Buffer.byteLength(name) >= IFNAMSIZ)
    throw new RangeError(`Cannot name a tap device "${name}": expected at most 15 bytes`);
  return namespace === undefined
    ? openHere(name)
    : inNetworkNamespace(namespace, () => openHere(name));
}

function openHere(name: string): OpenTap {
  const fd = Fd.from("openat", AT_FDCWD, "/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK, 0);
  try {
    // struct ifreq: name[16], flags u16
    const request = new Uint8Array(IFREQ_BYTES);
    request.set(Buffer.from(name));
    new DataView(request.buffer).setUint16(IFNAMSIZ, IFF_TAP | IFF_NO_PI, true);
    call("ioctl", fd, TUNSETIFF, request);
    const end = request.indexOf(0);
    return { fd, name: Buffer.from(request.subarray(0, end)).toString() };
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** Only this thread moves, and what `work` opened stays in that namespace. setns(2) */
function inNetworkNamespace<T>(path: string, work: () => T): T {
  using home = Fd.from("openat", AT_FDCWD, "/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC, 0);
  using target = Fd.from("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  call("setns", target, CLONE_NEWNET);
  try {
    return work();
  } finally {
    call("setns", home, CLONE_NEWNET);
  }
}
