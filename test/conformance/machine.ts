/** What this machine offers to containers, read once from the kernel's own files. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Need } from "./row.ts";

export interface Machine {
  /** cgroup v1 controller → directory of its hierarchy, as seen by the runtime. */
  readonly cgroupV1: ReadonlyMap<string, string>;
  /** Where cgroup2 is mounted, and the controllers it has. */
  readonly cgroup2: { readonly path: string; readonly controllers: readonly string[] } | undefined;
  readonly capabilities: bigint;
  readonly kernel: readonly [major: number, minor: number];
  readonly isRoot: boolean;
}

export function readMachine(): Machine {
  const cgroupV1 = new Map<string, string>();
  let cgroup2: Machine["cgroup2"];
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [type, , superOptions = ""] = after.split(" ");
    const path = before.split(" ")[4] ?? "";
    if (type === "cgroup") for (const name of superOptions.split(",")) cgroupV1.set(name, path);
    if (type === "cgroup2") cgroup2 = { path, controllers: controllersOf(path) };
  }
  const [, major = "0", minor = "0"] =
    /^(\d+)\.(\d+)/.exec(readFileSync("/proc/sys/kernel/osrelease", "utf8")) ?? [];
  const status = readFileSync("/proc/self/status", "utf8");
  return {
    cgroupV1,
    cgroup2,
    capabilities: BigInt(`0x${/CapEff:\s*(\w+)/.exec(status)?.[1] ?? "0"}`),
    kernel: [Number(major), Number(minor)],
    isRoot: process.getuid?.() === 0,
  };
}

function controllersOf(path: string): readonly string[] {
  return readFileSync(join(path, "cgroup.controllers"), "utf8").split(/\s+/).filter(Boolean);
}

/** True when limits go through cgroup v1, alone or beside a cgroup2 for processes only. */
export function usesCgroupV1(machine: Machine): boolean {
  return machine.cgroupV1.size > 0;
}

/** The controller has a hierarchy: v1 by that name, or cgroup2 offers it. */
export function controller(v1: string, v2: string = v1): Need {
  return (machine) =>
    machine.cgroupV1.has(v1) ||
    machine.cgroup2?.controllers.includes(v2) ||
    // cgroup v2's freezer is part of every cgroup.
    (v2 === "freezer" && machine.cgroupV1.size === 0 && machine.cgroup2 !== undefined)
      ? undefined
      : `no cgroup hierarchy has the controller "${v1}"`;
}

export const cgroupV1Only: Need = (machine) =>
  usesCgroupV1(machine) ? undefined : "cgroup v1 is not mounted";

export const cgroupV2Only: Need = (machine) =>
  usesCgroupV1(machine) ? "cgroup v1 is in use" : undefined;

export function kernelAtLeast(major: number, minor: number): Need {
  return ({ kernel }) =>
    kernel[0] > major || (kernel[0] === major && kernel[1] >= minor)
      ? undefined
      : `the kernel is older than ${major}.${minor}`;
}

export function file(path: string, what: string): Need {
  return () => (existsSync(path) ? undefined : `${what}: there is no ${path}`);
}

export function noFile(path: string, what: string): Need {
  return () => (existsSync(path) ? `${what}: ${path} exists` : undefined);
}

/** `bit` as in linux/capability.h. */
export function capability(name: string, bit: number): Need {
  return ({ capabilities }) =>
    (capabilities >> BigInt(bit)) & 1n ? undefined : `root lacks ${name} here`;
}

export function namespace(type: string): Need {
  return file(`/proc/self/ns/${type}`, `the kernel has no ${type} namespaces`);
}

export const manyCpus: Need = () =>
  /^0$/.test(readFileSync("/sys/devices/system/cpu/online", "utf8").trim())
    ? "the machine has one CPU"
    : undefined;

/** sd_booted(3). */
export const systemd: Need = file("/run/systemd/system", "systemd does not run here");
