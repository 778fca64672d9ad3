/**
 * The runtime that gives each container a machine, on the software CPU, for the suite: which rows hold
 * for it, and a file that an engine can call.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { guestKernel } from "../engine/vm/guest-kernel.ts";
import type { EngineName, EngineRow } from "./row.ts";

const machines = fileURLToPath(new URL("../../dist/manyworlds-vm", import.meta.url));

/** Machines have no user namespaces, and Swarm knows one runtime. */
export const machineEngines: readonly EngineName[] = [
  "docker-bridge",
  "docker",
  "containerd",
  "podman",
  "podman-rootless",
];

export function whyNoMachines(): string | undefined {
  if (!existsSync(machines)) return "dist/manyworlds-vm is not built: npm run build";
  return existsSync(guestKernel()) ? undefined : "there is no guest kernel: npm run guest:kernel";
}

/** Engines give a runtime no environment, and Docker just a path. */
export function writeMachineRuntime(directory: string): string {
  const path = join(directory, "manyworlds-vm");
  const root = join(directory, "machines"); // for snapshots, which go with the suite
  const script = `#!/bin/sh\nexport MANYWORLDS_ROOT=${root}\nexec ${machines} --cpu=software --kernel=${guestKernel()} "$@"\n`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

/** What shows that there is another kernel inside, or cannot be because of it. */
// biome-ignore format: table
const otherwise: Readonly<Record<string, string>> = {
  "update":         "the host's cgroup holds the machine: more memory, no number of processes",
  "limits":         "the host's cgroup holds the machine: more memory, no number of processes",
  "stats":          "the host's cgroup holds the machine: more memory and threads",
  "ctr-metrics":    "the host's cgroup holds the machine: more memory and threads",
  "top":            "the host sees the machine's processes",
  "oom":            "a machine with so little memory is not made",
  "pid-host":       "a machine shares no processes with the host: refused",
  "pid-container":  "machines share no processes: refused",
  "ipc-uts-host":   "a machine shares no IPC with the host: refused",
  "userns-podman":  "machines have no user namespaces: refused",
  "rootless-ids":   "a machine has users of its own",
  "pod-podman":     "machines share no IPC: refused",
};

export function holdsInMachines({ id }: EngineRow): boolean {
  return !Object.hasOwn(otherwise, id);
}

/** Those that are run without being asked for: one for starting and network, one for the rest. */
export const shortMachineRows: readonly string[] = ["bridge-out", "bridge-in"];
