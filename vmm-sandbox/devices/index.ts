/** The devices of a machine. */
export { Balloon, type Discard } from "./balloon.ts";
export { Block, type BlockBackend } from "./block.ts";
export { Console } from "./console.ts";
export { Entropy } from "./entropy.ts";
export { DiskError, FileBackend } from "./file-backend.ts";
export { VirtioFs } from "./fs/virtio-fs.ts";
export { GenerationId } from "./generation-id.ts";
export { Net, type NetBackend, type NetOptions } from "./net.ts";
export { CONFIG_CHANGE, USED_BUFFER } from "./pending-interrupts.ts";
export { KeyboardController, PowerPorts } from "./power.ts";
export { Serial, type SerialState } from "./serial.ts";
export { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";
export { type TransportState, VirtioMmio } from "./virtio-mmio.ts";
export { registers as mmioRegisters, status } from "./virtio-registers.ts";
export { type DescriptorChain, QueueError, Virtqueue } from "./virtqueue.ts";
export { Vsock, type VsockListener } from "./vsock.ts";
export { type VsockConnection, VsockError } from "./vsock-connection.ts";
