/** Entry point of the threads that unpack layers; pool.ts starts them. */
import { parentPort } from "node:worker_threads";
import type { UnpackJob } from "./job.ts";
import { unpackLayer } from "./unpack-layer.ts";
import { describeError } from "./worker-error.ts";

const port = parentPort;
if (port === null) throw new Error("Cannot run unpack-worker.ts by itself: it is a thread's entry");
port.on("message", async ({ id, job }: { id: number; job: UnpackJob }) => {
  try {
    port.postMessage({ id, result: await unpackLayer(job) });
  } catch (error) {
    port.postMessage({ id, failure: describeError(error) });
  }
});
