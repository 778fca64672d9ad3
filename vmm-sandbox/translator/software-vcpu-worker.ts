/** Thread of the software vCPU. Protocol: machine/vcpu-thread.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { BusDevice } from "../machine/bus.ts";
import { RemoteBus } from "../machine/exit-mailbox.ts";
import { HOLE_START, IO_APIC_ADDRESS } from "../machine/layout.ts";
import { obeyCommand, serveVcpu } from "../machine/serve-vcpu.ts";
import type { Command, Reply } from "../machine/vcpu-thread.ts";
import type { SoftwareCommand, SoftwareSetup } from "./backend.ts";
import { HostChannel } from "./host-channel.ts";
import { CompilingBeside } from "./region/compiler-thread.ts";
import { decodeCode } from "./saved-code.ts";
import { useInterpreter } from "./system/core-instance.ts";
import { reportOf } from "./system/statistics.ts";
import { createSoftwareMachine } from "./vcpu.ts";

const port = parentPort;
if (port === null) throw new Error("Cannot run a vCPU on the main thread: expected a worker");
// SAFE: backend.ts starts this worker with exactly this data.
const setup = workerData as SoftwareSetup;
const reply = (message: Reply) => port.postMessage(message);
const access = () => reply({ kind: "access" });

const channel = HostChannel.over(setup.channel);
const { memory, ramBytes } = setup;
const saved = setup.code === undefined ? undefined : decodeCode(new Uint8Array(setup.code));
if (saved !== undefined) useInterpreter(saved);
const { machine, vcpu, ioApic } = createSoftwareMachine({
  ...{ memory, ramBytes, channel },
  ...(setup.regions !== undefined && { compiling: new CompilingBeside(setup.regions) }),
});
/** Address of a doorbell, value written there, number of the bell. */
const bells = new Map<number, ReadonlyMap<number, number>>();

machine.pio.attach({
  name: "device thread",
  base: 0,
  sizeBytes: 0x1_0000,
  device: new RemoteBus(setup.mailbox, "pio", access).device(0),
});
machine.mmio.attach({
  name: "device thread",
  base: HOLE_START,
  sizeBytes: IO_APIC_ADDRESS - HOLE_START,
  device: withBells(new RemoteBus(setup.mailbox, "mmio", access).device(HOLE_START)),
});
vcpu.onReport = () => reply({ kind: "told", what: reportOf(vcpu.cpu) });
serveVcpu(port, obey);

function obey(command: Command<SoftwareCommand>): unknown {
  switch (command.kind) {
    case "bells":
      for (const [index, { address, value }] of command.bells.entries())
        bells.set(address, new Map([...(bells.get(address) ?? []), [value, index]]));
      return undefined;
    case "report":
      return reportOf(vcpu.cpu);
    case "save code":
      return vcpu.saveCode();
    case "restore": {
      const done = obeyCommand(vcpu, command);
      if (saved !== undefined) vcpu.restoreCode(saved);
      return done;
    }
    case "save chips":
      return ioApic.save();
    case "restore chips":
      return ioApic.restore(command.chips);
    default:
      return obeyCommand(vcpu, command);
  }
}

/** Doorbells are noted and the vCPU goes on; everything else waits for its answer. */
function withBells(device: BusDevice): BusDevice {
  return {
    read: (offset, sizeBytes) => device.read(offset, sizeBytes),
    write(offset, sizeBytes, value) {
      const bell = sizeBytes === 4 ? bells.get(HOLE_START + offset)?.get(value) : undefined;
      if (bell === undefined) device.write(offset, sizeBytes, value);
      else if (channel.ringBell(bell)) reply({ kind: "call" });
    },
  };
}
