/**
 * The compiler on a thread of its own (region-worker.ts).
 *
 * ```
 * vCPU's thread (CompilingBeside)                compiler's thread (serveRegions)
 *   requests ─────────────── ring ────────────────► sleeps until there are some, waits for company
 *   module, at a look ◄───── port, counted ───────  one module of all
 *
 * Int32Array  0 put: requests so far   1 taken   2 modules sent   3 to end   16… ring of requests
 * ```
 * Sending a message costs a vCPU a hundred times more than a request in a ring.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { startWorker } from "../../host/start-worker.ts";
import { allowBranchHints, Collections } from "../wasm/engine.ts";
import { batchSize, RegionCompiler } from "./compiler.ts";
import type { CompiledModule, RegionCompiling, RegionRequest } from "./request.ts";

const PUT = 0;
const TAKEN = 1;
const SENT = 2;
const END = 3;
const RING = 16;
const ringEntries = 256;
/** Fields of a request, in the order of the ring. */
const fields = [
  ...["epoch", "number", "slot", "head", "low", "high", "mode", "page", "root", "threshold"],
] as readonly (keyof RegionRequest)[];
const requestWords = 16;

/** A module has a fixed cost for the engine: heads wait this long for others. */
const companyMs = 25;

/** The vCPU's end of the connection; its port is to be transferred to the vCPU's thread. */
export type RegionConnection = { readonly port: MessagePort; readonly ring: SharedArrayBuffer };

export type RegionThreadSetup = RegionConnection & {
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
};

export type RegionThread = {
  readonly connection: RegionConnection;
  readonly ready: Promise<void>;
  readonly end: () => Promise<void>;
};

export function startRegionThread(memory: WebAssembly.Memory, ramBytes: number): RegionThread {
  const { port1, port2 } = new MessageChannel();
  const ring = new SharedArrayBuffer((RING + ringEntries * requestWords) * 4);
  const workerData: RegionThreadSetup = { memory, ramBytes, ring, port: port2 };
  const path = "vmm-sandbox/translator/region/region-worker.ts";
  const worker = startWorker(path, import.meta.url, { workerData, transferList: [port2] });
  const ready = new Promise<void>((resolve, reject) => {
    worker.once("message", () => resolve());
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("The compiler's thread ended unexpectedly")));
  });
  ready.catch(() => undefined); // reported to whoever waits for it
  worker.unref();
  const end = async (): Promise<void> => {
    const words = new Int32Array(ring);
    Atomics.store(words, END, 1);
    Atomics.notify(words, PUT);
    await worker.terminate();
  };
  return { connection: { port: port1, ring }, ready, end };
}

export class CompilingBeside implements RegionCompiling {
  private readonly port: MessagePort;
  private readonly words: Int32Array;
  /** Those that the ring has no room for yet. */
  private readonly waiting: RegionRequest[] = [];
  private taken = 0;

  constructor({ port, ring }: RegionConnection) {
    this.port = port;
    this.words = new Int32Array(ring);
    port.unref();
  }

  submit(request: RegionRequest): void {
    this.waiting.push(request);
    this.fillRing();
  }

  take(): CompiledModule | undefined {
    if (this.waiting.length > 0) this.fillRing();
    if (Atomics.load(this.words, SENT) === this.taken) return undefined;
    this.taken = (this.taken + 1) | 0;
    // SAFE: serveRegions sends nothing else, and counts after it sent.
    return receiveMessageOnPort(this.port)?.message as CompiledModule | undefined;
  }

  /** What is under way comes back with its epoch, which is over then. */
  forget(): void {
    this.waiting.length = 0;
  }

  /** The other thread does what it can. */
  hurry(): void {}

  private fillRing(): void {
    const { words } = this;
    let put = Atomics.load(words, PUT);
    while (this.waiting.length > 0) {
      if (((put - Atomics.load(words, TAKEN)) | 0) >= ringEntries) break;
      // SAFE: the loop's condition.
      const request = this.waiting.shift() as RegionRequest;
      const at = RING + (put & (ringEntries - 1)) * requestWords;
      for (const [i, field] of fields.entries()) words[at + i] = request[field];
      put = (put + 1) | 0;
    }
    Atomics.store(words, PUT, put);
    Atomics.notify(words, PUT);
  }
}

/** Emitting an instruction leaves some 3 KiB of objects behind. */
const instructionsBetweenCollections = 5000;

/** The inside of the compiler's thread; returns when it is to end. */
export function serveRegions({ memory, ramBytes, port, ring }: RegionThreadSetup): void {
  allowBranchHints();
  const compiler = new RegionCompiler(memory, ramBytes);
  const words = new Int32Array(ring);
  const collections = new Collections(instructionsBetweenCollections);
  let instructions = 0;
  let taken = 0;
  for (;;) {
    Atomics.wait(words, PUT, taken);
    const due = performance.now() + companyMs;
    for (let put = Atomics.load(words, PUT); ((put - taken) | 0) < batchSize; ) {
      const left = due - performance.now();
      if (Atomics.load(words, END) !== 0 || left <= 0) break;
      Atomics.wait(words, PUT, put, left);
      put = Atomics.load(words, PUT);
    }
    if (Atomics.load(words, END) !== 0) return;
    const requests: RegionRequest[] = [];
    for (
      ;
      taken !== Atomics.load(words, PUT) && requests.length < batchSize;
      taken = (taken + 1) | 0
    )
      requests.push(requestAt(words, RING + (taken & (ringEntries - 1)) * requestWords));
    Atomics.store(words, TAKEN, taken);
    const done = compiler.compile(requests);
    if (!done) continue;
    port.postMessage(done);
    Atomics.add(words, SENT, 1);
    for (const region of done.regions) instructions += region.instructions;
    collections.after(instructions);
  }
}

function requestAt(words: Int32Array, at: number): RegionRequest {
  const values = fields.map((field, i) => [field, words[at + i]] as const);
  // SAFE: the fields are those of a request, all of them numbers.
  return Object.fromEntries(values) as RegionRequest;
}
