/** A thread that writes to an eventfd when it is told to, after a while. */
import { setTimeout } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { call } from "../../../linux/index.ts";

/** The guest has halted by then, even one whose processor is emulated on a busy machine. */
const DELAY_MS = 300;
const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

parentPort?.on("message", async () => {
  await setTimeout(DELAY_MS);
  // SAFE: the tests start this worker with the number of an eventfd.
  call("write", workerData as number, ONE, 8);
});
parentPort?.postMessage("ready");
