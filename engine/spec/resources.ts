/** cgroup limits from options, with the checks and defaults of docker. */
import type { Resources } from "../../oci/index.ts";
import { ContainerError } from "../errors.ts";
import type { ContainerOptions } from "../options.ts";
import { type HostDevice, makeDeviceRules } from "./devices.ts";

const PERIOD_US = 100_000;
const MIN_MEMORY_BYTES = 6 * 1024 * 1024; // docker's: less does not even start a process

export interface ResourceFacts {
  readonly cpuCount: number;
  /** Whether the kernel counts swap per cgroup. */
  readonly swapLimit: boolean;
  readonly devices: readonly HostDevice[];
}

export function makeResources(options: ContainerOptions, facts: ResourceFacts): Resources {
  check(options, facts);
  const memory = makeMemory(options, facts.swapLimit);
  const cpu = makeCpu(options);
  const { pidsLimit } = options;
  return {
    devices: makeDeviceRules(options, facts.devices),
    ...(memory !== undefined && { memory }),
    ...(cpu !== undefined && { cpu }),
    ...(pidsLimit !== undefined && pidsLimit !== 0 && { pids: { limit: pidsLimit } }),
  };
}

function check(options: ContainerOptions, { cpuCount }: ResourceFacts): void {
  const { cpus = 0, memoryBytes = 0, memorySwapBytes, memoryReservationBytes = 0 } = options;
  if (cpus > cpuCount) {
    throw new ContainerError(`Cannot use ${cpus} CPUs: expected 0.01 to ${cpuCount}`, {
      hint: `this machine has ${cpuCount}`,
    });
  }
  if (memoryBytes > 0 && memoryBytes < MIN_MEMORY_BYTES) {
    throw new ContainerError(`Cannot limit memory to ${memoryBytes} bytes: expected at least 6m`);
  }
  if (memorySwapBytes !== undefined && memoryBytes === 0) {
    throw new ContainerError("Cannot use --memory-swap without --memory");
  }
  if (memorySwapBytes !== undefined && memorySwapBytes > 0 && memorySwapBytes < memoryBytes) {
    throw new ContainerError("Cannot limit memory and swap together to less than memory alone");
  }
  if (memoryBytes > 0 && memoryReservationBytes > memoryBytes) {
    throw new ContainerError("Cannot reserve more memory than --memory allows");
  }
}

function makeMemory(options: ContainerOptions, swapLimit: boolean): Resources["memory"] {
  const { memoryBytes = 0, memoryReservationBytes = 0, memorySwapBytes } = options;
  if (memoryBytes === 0 && memoryReservationBytes === 0) return undefined;
  // docker: as much swap as memory, unless the caller says otherwise
  const swap = memorySwapBytes ?? memoryBytes * 2;
  return {
    ...(memoryBytes > 0 && { limit: memoryBytes }),
    ...(memoryBytes > 0 && swapLimit && { swap }),
    ...(memoryReservationBytes > 0 && { reservation: memoryReservationBytes }),
  };
}

function makeCpu(options: ContainerOptions): Resources["cpu"] {
  const { cpus = 0, cpuShares, cpusetCpus, cpusetMems } = options;
  const cpu = {
    ...(cpus > 0 && { quota: Math.round(cpus * PERIOD_US), period: PERIOD_US }),
    ...(cpuShares !== undefined && cpuShares > 0 && { shares: cpuShares }),
    ...(cpusetCpus !== undefined && { cpus: cpusetCpus }),
    ...(cpusetMems !== undefined && { mems: cpusetMems }),
  };
  return Object.keys(cpu).length === 0 ? undefined : cpu;
}
