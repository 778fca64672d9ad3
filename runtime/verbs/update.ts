/** `update`: other limits for a running container; LinuxResources as JSON, or runc's flags. */
import type { Resources } from "../../oci/index.ts";
import { limitCgroup } from "../cgroups/cgroup.ts";
import { readFd, readText } from "../files.ts";
import { hostResources } from "../machine/split-config.ts";
import { limitGuest } from "../machine/verbs.ts";
import { readContainer } from "../state.ts";
import { parseJson } from "./bundle.ts";
import {
  type OptionTable,
  type ParsedOptionsOf,
  parseOptions,
  UsageError,
} from "./command-line.ts";
import { systemdOf, type VerbContext } from "./context.ts";
import { containerId } from "./create.ts";

// biome-ignore format: table
const updateOptions = {
  resources: "text", "blkio-weight": "text", "cpu-period": "text", "cpu-quota": "text",
  "cpu-burst": "text", "cpu-share": "text", "cpu-rt-period": "text", "cpu-rt-runtime": "text",
  "cpuset-cpus": "text", "cpuset-mems": "text", "cpu-idle": "text", memory: "text",
  "memory-reservation": "text", "memory-swap": "text", "pids-limit": "text",
  "kernel-memory": "text", "kernel-memory-tcp": "text",
} as const satisfies OptionTable;

export async function update(args: readonly string[], { stateRoot }: VerbContext): Promise<number> {
  const options = parseOptions(args, updateOptions, { r: "resources" });
  const container = readContainer(stateRoot, containerId(options, "update"));
  if (container.status === "stopped") throw new Error("container not running");
  if (container.cgroup === undefined) throw new Error("container has no cgroup to update");
  const file = options.text("resources");
  const resources = file === undefined ? fromFlags(options) : readResources(file);
  const systemd = await systemdOf(container.cgroup);
  if (container.machine !== undefined) limitGuest(container, resources);
  const limits = container.machine === undefined ? ordered(resources) : hostResources(resources);
  systemd?.updateScope(container.cgroup, limits);
  limitCgroup(container.cgroup, limits);
  return 0;
}

function readResources(file: string): Resources {
  const text = file === "-" ? readFd({ number: 0 }) : readText(file);
  const value = parseJson(text, file === "-" ? "resources" : file);
  if (typeof value !== "object" || value === null) throw new Error("Expected a JSON object");
  // SAFE: an object; every field is turned into a file's text, which the kernel judges.
  return value as Resources;
}

/** Device rules belong to the container's making; engines send them along unchanged. */
function ordered({ devices: _, ...resources }: Resources): Resources {
  return resources;
}

function fromFlags(options: ParsedOptionsOf): Resources {
  const number = (name: string): number | undefined => {
    const text = options.text(name);
    if (text === undefined || text === "") return undefined;
    const value = parseAmount(text);
    if (value === undefined) throw new UsageError(`invalid value for ${name}: ${text}`);
    return value;
  };
  const clean = <T extends object>(object: T): T | undefined => {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    // SAFE: only undefined fields are left out, all of which are optional.
    return entries.length === 0 ? undefined : (Object.fromEntries(entries) as T);
  };
  return (
    (clean({
      memory: clean({
        limit: number("memory"),
        reservation: number("memory-reservation"),
        swap: number("memory-swap"),
        kernelTCP: number("kernel-memory-tcp"),
      }),
      cpu: clean({
        shares: number("cpu-share"),
        quota: number("cpu-quota"),
        burst: number("cpu-burst"),
        period: number("cpu-period"),
        realtimeRuntime: number("cpu-rt-runtime"),
        realtimePeriod: number("cpu-rt-period"),
        cpus: options.text("cpuset-cpus"),
        mems: options.text("cpuset-mems"),
        idle: number("cpu-idle"),
      }),
      pids: clean({ limit: number("pids-limit") }),
      blockIO: clean({ weight: number("blkio-weight") }),
    }) as Resources | undefined) ?? {}
  );
}

// biome-ignore format: table
const units: Readonly<Record<string, number>> = {
  "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4,
};

/** "512m", "-1", "1024". */
function parseAmount(text: string): number | undefined {
  const [, digits, unit = ""] = /^(-?\d+)([bkmgt]?)b?$/i.exec(text) ?? [];
  const factor = units[unit.toLowerCase()];
  return digits === undefined || factor === undefined ? undefined : Number(digits) * factor;
}
