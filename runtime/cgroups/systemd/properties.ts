/**
 * linux.resources as properties of a systemd unit, so that systemd, which may write a unit's
 * limits again at any time (daemon-reload), writes what the container was given. What systemd has
 * no property for is written to the cgroup's files alone.
 * Sources: systemd.resource-control(5), org.freedesktop.systemd1(5).
 */
import type { Resources } from "../../../oci/index.ts";
import { parseNumberList } from "../../launch/placement.ts";
import { sharesToWeight, swapV2 } from "../resources.ts";
import { planDeviceProperties } from "./devices.ts";
import { type Property, property } from "./property.ts";

/** systemd's "infinity". */
const infinity = 2n ** 64n - 1n;
const microsecondsPerSecond = 1_000_000;
/** systemd rounds CPU time down to this; we round up, so that a container gets what it was promised. */
const quotaStepUsec = 10_000;
const defaultPeriodUsec = 100_000;

export function planResourceProperties(
  resources: Resources | undefined,
  version: 1 | 2,
): readonly Property[] {
  if (resources === undefined) return [];
  const common = [...cpuQuota(resources), ...tasks(resources.pids?.limit)];
  return version === 1
    ? [...common, ...limitsV1(resources), ...planDeviceProperties(resources.devices)]
    : [...common, ...limitsV2(resources), ...unified(resources.unified)];
}

/** A u64 with -1 for "no limit"; 0 and nothing leave it as it is. */
function amount(name: string, value: number | undefined): readonly Property[] {
  if (value === undefined || value === 0) return [];
  return [property(name, "t", value < 0 ? infinity : BigInt(Math.trunc(value)))];
}

/** systemd takes no TasksMax of 0, which the specification has: then only the file says so. */
function tasks(limit: number | undefined): readonly Property[] {
  return amount("TasksMax", limit);
}

function cpuQuota({ cpu }: Resources): readonly Property[] {
  const { quota = 0, period = 0 } = cpu ?? {};
  if (quota === 0 && period === 0) return [];
  const periods = period > 0 ? [property("CPUQuotaPeriodUSec", "t", BigInt(period))] : [];
  return [...periods, property("CPUQuotaPerSecUSec", "t", quotaPerSecond(quota, period))];
}

function quotaPerSecond(quota: number, period: number): bigint {
  if (quota <= 0) return infinity;
  const perSecond = (quota * microsecondsPerSecond) / (period > 0 ? period : defaultPeriodUsec);
  return BigInt(Math.ceil(perSecond / quotaStepUsec) * quotaStepUsec);
}

function limitsV1({ memory, cpu, blockIO }: Resources): readonly Property[] {
  return [
    ...amount("MemoryLimit", memory?.limit),
    ...amount("CPUShares", cpu?.shares),
    ...amount("BlockIOWeight", blockIO?.weight),
  ];
}

function limitsV2({ memory, cpu }: Resources): readonly Property[] {
  const swap = memory === undefined ? undefined : swapV2(memory);
  return [
    ...amount("MemoryMax", memory?.limit),
    ...amount("MemoryLow", memory?.reservation),
    ...(swap === undefined
      ? []
      : [property("MemorySwapMax", "t", swap === "max" ? infinity : BigInt(swap))]),
    ...amount("CPUWeight", cpu?.shares ? sharesToWeight(cpu.shares) : undefined),
    ...cpuSet("AllowedCPUs", cpu?.cpus, "cpu.cpus"),
    ...cpuSet("AllowedMemoryNodes", cpu?.mems, "cpu.mems"),
  ];
}

function cpuSet(name: string, list: string | undefined, field: string): readonly Property[] {
  if (!list) return [];
  return [property(name, "ay", parseNumberList(list, `linux.resources.${field}`))];
}

/** Files of cgroup v2 that are systemd's properties too; "max" is its infinity. */
// biome-ignore format: table
const unifiedAmounts: Readonly<Record<string, string>> = {
  "memory.min": "MemoryMin", "memory.low": "MemoryLow", "memory.high": "MemoryHigh",
  "memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
  "cpu.weight": "CPUWeight",
};

function unified(files: Resources["unified"] = {}): readonly Property[] {
  return Object.entries(files).flatMap(([file, text]) => {
    const name = Object.hasOwn(unifiedAmounts, file) ? unifiedAmounts[file] : undefined;
    if (name !== undefined) {
      const value = text.trim() === "max" ? -1 : Number(text);
      return Number.isSafeInteger(value) ? amount(name, value) : [];
    }
    if (file === "cpuset.cpus") return cpuSet("AllowedCPUs", text, 'unified["cpuset.cpus"]');
    if (file === "cpuset.mems") return cpuSet("AllowedMemoryNodes", text, 'unified["cpuset.mems"]');
    if (file !== "cpu.max") return [];
    const [quota = "max", period = "0"] = text.trim().split(/\s+/);
    return cpuQuota({
      cpu: { quota: quota === "max" ? -1 : Number(quota), period: Number(period) },
    });
  });
}
