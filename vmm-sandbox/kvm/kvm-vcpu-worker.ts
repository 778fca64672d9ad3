/** Thread of one vCPU: makes it, then obeys one command at a time. Protocol: machine/vcpu-thread.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { RemoteBus } from "../machine/exit-mailbox.ts";
import { obeyCommand, serveVcpu } from "../machine/serve-vcpu.ts";
import type { Command, Reply } from "../machine/vcpu-thread.ts";
import type { ThreadSetup } from "./backend.ts";
import { KvmVcpu } from "./vcpu.ts";
import { adopt } from "./vm.ts";

const port = parentPort;
if (port === null) throw new Error("Cannot run a vCPU on the main thread: expected a worker");
// SAFE: backend.ts starts this worker with exactly this data.
const setup = workerData as ThreadSetup;
const access = () => port.postMessage({ kind: "access" } satisfies Reply);

const vcpu = new KvmVcpu(adopt(setup.vm), setup.index, setup.count, {
  pio: new RemoteBus(setup.mailbox, "pio", access),
  mmio: new RemoteBus(setup.mailbox, "mmio", access),
  // The device thread kicks when the machine is to stop.
  stopReason: undefined,
});
serveVcpu(port, (command: Command) => obeyCommand(vcpu, command), vcpu.kickTarget);
