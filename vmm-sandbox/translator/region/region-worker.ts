/** Thread that compiles regions for a vCPU. Protocol: compiler-thread.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { type RegionThreadSetup, serveRegions } from "./compiler-thread.ts";

parentPort?.postMessage("ready");
// SAFE: compiler-thread.ts starts this worker with exactly this data.
serveRegions(workerData as RegionThreadSetup);
