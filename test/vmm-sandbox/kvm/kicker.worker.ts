/** A thread that kicks a vCPU after the number of milliseconds it is sent. */
import { parentPort, workerData } from "node:worker_threads";
import { kickVcpu } from "../../../vmm-sandbox/kvm/index.ts";

parentPort?.on("message", (delayMs: number) => {
  setTimeout(() => kickVcpu(workerData), delayMs);
});
parentPort?.postMessage("ready");
