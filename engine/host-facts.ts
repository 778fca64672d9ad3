/** What `info` tells: this machine and what is kept on it, under docker's names of fields. */
import { existsSync } from "node:fs";
import { availableParallelism, hostname, totalmem } from "node:os";
import type { Places } from "./places.ts";
import { hostFile, kernelRelease } from "./spec/host.ts";
import { VERSION } from "./version.ts";

export interface HostFacts {
  readonly ServerVersion: string;
  readonly RootDir: string;
  readonly Images: number;
  readonly Containers: number;
  readonly ContainersRunning: number;
  readonly ContainersStopped: number;
  readonly Driver: string;
  readonly CgroupVersion: string;
  readonly Rootless: boolean;
  readonly KernelVersion: string;
  readonly OperatingSystem: string;
  readonly OSType: string;
  readonly Architecture: string;
  readonly NCPU: number;
  readonly MemTotal: number;
  readonly Name: string;
}

export function readHostFacts({ root, store, containers }: Places): HostFacts {
  const running = containers.running().filter((name) => !name.startsWith(".")).length;
  const all = containers.list().length;
  const release = hostFile("/etc/os-release");
  return {
    ServerVersion: VERSION,
    RootDir: root,
    Images: store.images.list().length,
    Containers: all,
    ContainersRunning: running,
    ContainersStopped: Math.max(0, all - running),
    Driver: "overlayfs",
    CgroupVersion: existsSync("/sys/fs/cgroup/cgroup.controllers") ? "2" : "1",
    Rootless: process.getuid?.() !== 0,
    KernelVersion: kernelRelease(),
    OperatingSystem: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)?.[1] ?? "Linux",
    OSType: process.platform,
    Architecture: process.arch === "x64" ? "x86_64" : process.arch,
    NCPU: availableParallelism(),
    MemTotal: totalmem(),
    Name: hostname(),
  };
}
