/** `run` for programs: streams instead of descriptors, promises instead of blocking. */
import { createReadStream } from "node:fs";
import { Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import {
  call,
  Fd,
  O_CLOEXEC,
  POLLIN,
  type Program,
  pollfd,
  runProgram,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  syscall,
} from "../linux/index.ts";
import { waitForChild } from "../runtime/index.ts";
import type { CpuReport } from "../vmm-sandbox/index.ts";
import { killOnAbort, numberOfSignal } from "./kill-on-abort.ts";
import { cleanUp, type Launched, launch } from "./launch.ts";
import type { ContainerOptions, PullPolicy } from "./options.ts";
import { openPlaces, type Places } from "./places.ts";
import { discard, type Prepared, prepareContainer } from "./prepare.ts";
import type { OnProgress } from "./progress.ts";
import { resolveImage } from "./resolve-image.ts";
import { sweep } from "./sweep.ts";
import { closeAllBut } from "./terminal/raw-mode.ts";

export interface RunRequest extends Omit<ContainerOptions, "tty"> {
  /** "vm": in a virtual machine of its own, on KVM or on the software CPU. Default: a container. */
  readonly isolation?: "auto" | "container" | "vm";
  /** Of a virtual machine; "auto" takes KVM where hardware stands behind it. */
  readonly cpu?: "auto" | "kvm" | "software";
  /** Kernel of a virtual machine: a bzImage, a vmlinux, or a directory. */
  readonly kernel?: string;
  /** Boot the virtual machine, even if a snapshot of one like it is there, and make none. */
  readonly cold?: boolean;
  /** A name such as "busybox", or an image's ID. */
  readonly image: string;
  readonly name?: string;
  /** Keep the container when it has ended; without it, it is removed. */
  readonly keep?: boolean;
  readonly pull?: PullPolicy;
  readonly platform?: string;
  /** "inherit": the container writes where we do. Default: "pipe". */
  readonly output?: "pipe" | "inherit";
  readonly root?: string;
  /** Ends the pull, or kills the container. */
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

/** The virtual machine that a container has to itself. */
export interface RunningMachine {
  readonly cpu: "kvm" | "software";
  /** Why it is this CPU. */
  readonly reason: string;
  /**
   * What the software CPU has translated, counted and met so far, or had when the machine ended.
   * Undefined on KVM, where the processor itself runs the guest.
   */
  stats(): Promise<CpuReport | undefined>;
}

/** A container that has been started. Disposing of it kills and removes it. */
export interface RunningContainer extends AsyncDisposable {
  readonly id: string;
  readonly name: string;
  /** With `interactive`; closing it is the end of the container's input. */
  readonly stdin: WritableStream<Uint8Array> | undefined;
  /** Empty when the output is inherited. */
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** With `isolation: "vm"`. */
  readonly vm?: RunningMachine;
  /** The exit status as a shell reports it: 128 + N for signal N. */
  wait(): Promise<number>;
  kill(signal?: NodeJS.Signals): void;
}

export async function run(request: RunRequest): Promise<RunningContainer> {
  const { image: imageName, signal } = request;
  signal?.throwIfAborted();
  const places = openPlaces(request.root);
  sweep(places);
  const image = await resolveImage(places, imageName, request);
  using _lease = await places.store.lease(signal === undefined ? {} : { signal });
  const config = places.store.images.config(image);
  const prepared = prepareContainer(places, image, config, request, {
    name: request.name,
    autoRemove: request.keep !== true,
    imageName,
  });
  try {
    return new Running(places, prepared, request);
  } catch (error) {
    discard(places, prepared.record, prepared.lock);
    throw error;
  }
}

const STDOUT = 1;
const STDERR = 2;

class Running implements RunningContainer {
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly #places: Places;
  readonly #prepared: Prepared;
  readonly #launched: Launched;
  readonly #end: Promise<number>;
  #running = true;

  constructor(places: Places, prepared: Prepared, request: RunRequest) {
    this.#places = places;
    this.#prepared = prepared;
    const piped = request.output !== "inherit";
    const input = request.interactive === true ? makePipe() : undefined;
    const output = piped ? makePipe() : undefined;
    const errors = piped ? makePipe() : undefined;
    this.#launched = launch(places, prepared, {
      stdin: input?.read.number,
      stdout: output?.write.number ?? STDOUT,
      stderr: errors?.write.number ?? STDERR,
      init: request.init ?? false,
    });
    input?.read.close();
    output?.write.close();
    errors?.write.close();
    this.stdin = input && toWritable(input.write);
    this.stdout = toReadable(output?.read);
    this.stderr = toReadable(errors?.read);
    this.#end = this.#awaitEnd();
    this.#end.catch(() => undefined); // whoever waits hears of it
    killOnAbort(request.signal, () => this.kill("SIGKILL"), this.#end);
  }

  get id(): string {
    return this.#prepared.record.id;
  }

  get name(): string {
    return this.#prepared.record.name;
  }

  wait(): Promise<number> {
    return this.#end;
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    const number = numberOfSignal(signal);
    const { pidfd } = this.#launched.container;
    if (this.#running) syscall("pidfd_send_signal", pidfd, number, 0, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pidfd } = this.#launched.container;
    if (this.#running) syscall("pidfd_send_signal", pidfd, SIGKILL, 0, 0);
    await this.#end;
  }

  async #awaitEnd(): Promise<number> {
    const { container } = this.#launched;
    await processEnd(container.pidfd);
    const { code } = waitForChild(container.pid);
    this.#running = false;
    container.pidfd.close();
    cleanUp(container);
    const { record, lock } = this.#prepared;
    const { containers, store } = this.#places;
    if (record.autoRemove) discard(this.#places, record, lock);
    else {
      containers.write({ ...record, exitStatus: code, finishedAt: new Date().toISOString() });
      containers.release(containers.runningPath(record.id));
      lock.close();
    }
    store[Symbol.dispose]();
    return code;
  }
}

interface Pipe {
  readonly read: Fd;
  readonly write: Fd;
}

function makePipe(): Pipe {
  const ends = new Uint8Array(8);
  call("pipe2", ends, O_CLOEXEC);
  const view = new DataView(ends.buffer);
  return { read: Fd.take(view.getInt32(0, true)), write: Fd.take(view.getInt32(4, true)) };
}

function toReadable(fd: Fd | undefined): ReadableStream<Uint8Array> {
  if (fd === undefined) return new ReadableStream({ start: (controller) => controller.close() });
  // SAFE: a stream without an encoding gives bytes
  return Readable.toWeb(readEnd(fd)) as ReadableStream<Uint8Array>;
}

/** Bun's sockets never end when they are given a pipe; its file streams read one as it fills. */
function readEnd(fd: Fd): Readable {
  const number = fd.release();
  if ("Bun" in globalThis) return createReadStream("", { fd: number });
  return new Socket({ fd: number, readable: true, writable: false });
}

function toWritable(fd: Fd): WritableStream<Uint8Array> {
  return Writable.toWeb(new Socket({ fd: fd.release(), readable: false, writable: true }));
}

/**
 * The event loop cannot watch a pidfd. A process of a few rows can: it ends when the container
 * does, and the end of its pipe is an event.
 */
async function processEnd(pidfd: Fd): Promise<void> {
  const { read, write } = makePipe();
  const watcher = runProgram(watcherProgram(pidfd.number, write.number)).value;
  write.close();
  const pipe = readEnd(read);
  await new Promise<void>((resolve, reject) => {
    pipe.once("close", () => resolve());
    pipe.once("error", reject);
    pipe.resume();
  });
  syscall("wait4", watcher, 0, 0, 0);
}

function watcherProgram(pidfd: number, pipe: number): Program {
  return {
    rows: [
      { call: "clone", args: [SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      { call: "rt_sigprocmask", args: [SIG_SETMASK, new Uint8Array(8).fill(0xff), 0, 8] },
      ...closeAllBut([pidfd, pipe]),
      { call: "poll", args: [pollfd.encode({ fd: pidfd, events: POLLIN }), 1, -1] },
      { call: "exit_group", args: [0] },
      { label: "parent" },
      { end: { result: "pid" } },
    ],
  };
}
