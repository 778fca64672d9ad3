/**
 * Threads that unpack layers, one per core, started when the first large layer comes.
 *
 * A thread takes 15 ms to start, so small layers that are complete are unpacked right here.
 */
import { availableParallelism } from "node:os";
import { type Worker, workerThreads } from "../builtin.ts";
import { JobProgress, type UnpackJob, type UnpackResult } from "./job.ts";
import { unpackLayer } from "./unpack-layer.ts";
import { type ErrorDescription, restoreError } from "./worker-error.ts";

const MAX_THREADS = 4;
const SMALL_LAYER_BYTES = 4 * 1024 * 1024;

interface Waiting {
  readonly job: UnpackJob;
  readonly resolve: (result: UnpackResult) => void;
  readonly reject: (error: Error) => void;
}

interface Answer {
  readonly id: number;
  readonly result?: UnpackResult;
  readonly failure?: ErrorDescription;
}

export interface UnpackOptions {
  readonly signal?: AbortSignal | undefined;
}

export class UnpackPool implements Disposable {
  readonly #limit: number;
  readonly #idle: Worker[] = [];
  readonly #all = new Set<Worker>();
  readonly #queue: Waiting[] = [];
  #nextId = 1;

  constructor(threads: number = Math.min(MAX_THREADS, availableParallelism())) {
    this.#limit = Math.max(1, threads);
  }

  /** Unpacks one layer; an aborted signal stops it within one chunk. */
  async run(job: UnpackJob, { signal }: UnpackOptions = {}): Promise<UnpackResult> {
    signal?.throwIfAborted();
    const progress = new JobProgress(job.shared);
    if (job.blobBytes <= SMALL_LAYER_BYTES && progress.isComplete) return unpackLayer(job);
    const onAbort = () => progress.abort();
    signal?.addEventListener("abort", onAbort);
    try {
      return await new Promise<UnpackResult>((resolve, reject) => {
        this.#queue.push({ job, resolve, reject });
        this.#dispatch();
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  [Symbol.dispose](): void {
    for (const worker of this.#all) void worker.terminate();
    this.#all.clear();
    this.#idle.length = 0;
    for (const { reject } of this.#queue.splice(0))
      reject(new Error("Cannot unpack a layer: the store was closed"));
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? this.#start();
      if (worker === undefined) return;
      const waiting = this.#queue.shift();
      if (waiting !== undefined) this.#assign(worker, waiting);
    }
  }

  #start(): Worker | undefined {
    if (this.#all.size >= this.#limit) return undefined;
    const worker = startWorker();
    this.#all.add(worker);
    return worker;
  }

  #assign(worker: Worker, { job, resolve, reject }: Waiting): void {
    const id = this.#nextId++;
    worker.ref();
    const finish = () => {
      worker.off("message", onMessage);
      worker.off("error", onError);
      worker.off("exit", onExit);
    };
    const onMessage = (answer: Answer) => {
      if (answer.id !== id) return;
      finish();
      worker.unref(); // an idle thread must not keep the process alive
      this.#idle.push(worker);
      if (answer.result !== undefined) resolve(answer.result);
      else if (answer.failure !== undefined) reject(restoreError(answer.failure));
      this.#dispatch();
    };
    const onError = (error: Error) => {
      finish();
      this.#all.delete(worker);
      reject(error);
      this.#dispatch();
    };
    const onExit = (code: number) => onError(new Error(`An unpacking thread ended with ${code}`));
    worker.on("message", onMessage);
    worker.on("error", onError);
    worker.on("exit", onExit);
    worker.postMessage({ id, job });
  }
}

/**
 * The entry lies beside this file: as TypeScript in the sources, as JavaScript in the npm package,
 * and in the executable under the name that `bun build --compile` keeps for its second entry
 * point, relative to the repository.
 */
function startWorker(): Worker {
  const { Worker } = workerThreads();
  const here = import.meta.url;
  if (here.includes("/$bunfs/")) return new Worker("./image/unpack/unpack-worker.ts");
  if (!here.endsWith(".ts")) return new Worker(new URL("./unpack-worker.js", here));
  const entry = new URL("./unpack-worker.ts", here);
  if ("Bun" in globalThis) return new Worker(entry);
  // From the sources on Node: tsx does not reach into threads by itself.
  // require.resolve finds the CommonJS twin, which cannot register hooks from a thread.
  const { createRequire } = process.getBuiltinModule("node:module");
  const twin = createRequire(here)
    .resolve("tsx/esm/api")
    .replace(/\.cjs$/, ".mjs");
  const tsx = process.getBuiltinModule("node:url").pathToFileURL(twin).href;
  const steps = `import(${JSON.stringify(tsx)}).then((tsx) => {
    tsx.register();
    return import(${JSON.stringify(entry.href)});
  })`;
  return new Worker(steps, { eval: true });
}
