/** `events`: statistics of a container's cgroup, in runc's JSON. */
import type { CgroupPlace } from "../cgroups/cgroup.ts";
import { readTextIfThere } from "../files.ts";
import { type Container, readContainer } from "../state.ts";
import { parseOptions } from "./command-line.ts";
import type { VerbContext } from "./context.ts";
import { containerId } from "./create.ts";

const defaultInterval = "5s";

export async function events(args: readonly string[], context: VerbContext): Promise<number> {
  const options = parseOptions(args, { stats: "boolean", interval: "text" });
  const id = containerId(options, "events");
  const intervalMs = parseDuration(options.text("interval") ?? defaultInterval);
  const read = () => readContainer(context.stateRoot, id);
  let container = read();
  if (container.status === "stopped") throw new Error(`container with id ${id} is not running`);
  for (;;) {
    context.print(`${JSON.stringify({ type: "stats", id, data: readStats(container) })}\n`);
    if (options.flag("stats")) return 0;
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
    container = read();
    if (container.status === "stopped") return 0;
  }
}

function parseDuration(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m)?$/.exec(text) ?? [];
  if (amount === undefined)
    throw new Error(`invalid value ${JSON.stringify(text)} for flag -interval`);
  return Number(amount) * (unit === "ms" ? 1 : unit === "m" ? 60_000 : 1000);
}

type Read = (file: string) => string | undefined;

function readStats({ cgroup }: Container): unknown {
  if (cgroup === undefined) return {};
  return cgroup.version === 2 ? statsV2(reader(cgroup.directories[""])) : statsV1(cgroup);
}

function reader(directory: string | undefined): Read {
  return (file) => {
    const path = `${directory}/${file}`;
    return directory === undefined ? undefined : readTextIfThere(path);
  };
}

function statsV1({ directories, controllers }: CgroupPlace): unknown {
  const of = (controller: string) => reader(directories[controllers[controller] ?? "none"]);
  const [cpuacct, cpu, memory, pids] = [of("cpuacct"), of("cpu"), of("memory"), of("pids")];
  const throttled = pairs(cpu("cpu.stat"));
  const usage = pairs(cpuacct("cpuacct.stat"));
  const memoryOf = (prefix: string) => ({
    limit: number(memory(`${prefix}limit_in_bytes`)),
    usage: number(memory(`${prefix}usage_in_bytes`)),
    max: number(memory(`${prefix}max_usage_in_bytes`)),
    failcnt: number(memory(`${prefix}failcnt`)),
  });
  return {
    cpu: {
      usage: {
        total: number(cpuacct("cpuacct.usage")),
        percpu: (cpuacct("cpuacct.usage_percpu") ?? "").trim().split(/\s+/).map(Number),
        kernel: (usage["system"] ?? 0) * nanosecondsPerTick,
        user: (usage["user"] ?? 0) * nanosecondsPerTick,
      },
      throttling: {
        periods: throttled["nr_periods"] ?? 0,
        throttledPeriods: throttled["nr_throttled"] ?? 0,
        throttledTime: throttled["throttled_time"] ?? 0,
      },
    },
    memory: {
      cache: pairs(memory("memory.stat"))["cache"] ?? 0,
      usage: memoryOf("memory."),
      swap: memoryOf("memory.memsw."),
      kernel: memoryOf("memory.kmem."),
      kernelTCP: memoryOf("memory.kmem.tcp."),
      raw: pairs(memory("memory.stat")),
    },
    pids: { current: number(pids("pids.current")), limit: number(pids("pids.max")) },
    ...noOthers,
  };
}

function statsV2(read: Read): unknown {
  const cpu = pairs(read("cpu.stat"));
  const memory = pairs(read("memory.stat"));
  return {
    cpu: {
      usage: {
        total: (cpu["usage_usec"] ?? 0) * 1000,
        kernel: (cpu["system_usec"] ?? 0) * 1000,
        user: (cpu["user_usec"] ?? 0) * 1000,
      },
      throttling: {
        periods: cpu["nr_periods"] ?? 0,
        throttledPeriods: cpu["nr_throttled"] ?? 0,
        throttledTime: (cpu["throttled_usec"] ?? 0) * 1000,
      },
    },
    memory: {
      cache: memory["file"] ?? 0,
      usage: { limit: number(read("memory.max")), usage: number(read("memory.current")) },
      swap: { limit: number(read("memory.swap.max")), usage: number(read("memory.swap.current")) },
      raw: memory,
    },
    pids: { current: number(read("pids.current")), limit: number(read("pids.max")) },
    ...noOthers,
  };
}

/** USER_HZ is 100 on every Linux. */
const nanosecondsPerTick = 10_000_000;
const noOthers = { blkio: {}, hugetlb: {}, intel_rdt: {}, network_interfaces: null };

function number(text: string | undefined): number {
  const value = Number(text?.trim() ?? 0);
  return Number.isNaN(value) ? 0 : value;
}

function pairs(text: string | undefined): Readonly<Record<string, number>> {
  const lines = (text ?? "").split("\n").map((line) => line.split(" "));
  return Object.fromEntries(
    lines.flatMap(([key, value]) => (key && value ? [[key, Number(value)]] : [])),
  );
}
