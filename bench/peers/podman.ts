/** Podman with its storage in a folder of ours, on runc, for machines like the usual test machine. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeFolder } from "../folder.ts";

export interface Podman extends Disposable {
  /** Command and the flags that precede its verb. */
  readonly command: readonly string[];
  /** Flags of `run` that this machine needs. */
  readonly runFlags: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Empties its store. */
  removeImages(): void;
}

export function openPodman(): Podman {
  const directory = makeFolder("podman");
  const settings = join(directory, "containers.conf");
  writeFileSync(settings, "[engine]\n[network]\n");
  const place = (name: string) => {
    const folder = join(directory, name);
    mkdirSync(folder);
    return folder;
  };
  const command = [
    ...["podman", "--root", place("root"), "--runroot", place("run"), "--tmpdir", place("tmp")],
    ...["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"],
    ...["--runtime", "runc"],
  ];
  // Root without CAP_SYS_RESOURCE cannot raise limits to podman's defaults (design.md, facts).
  const runFlags = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
  const env = { ...process.env, CONTAINERS_CONF: settings };
  return {
    command,
    runFlags,
    env,
    removeImages() {
      const [file = "", ...flags] = command;
      spawnSync(file, [...flags, "rmi", "--all", "--force"], { env, stdio: "ignore" });
    },
    [Symbol.dispose]() {
      const [file = "", ...flags] = command;
      spawnSync(file, [...flags, "rm", "--all", "--force"], { env, stdio: "ignore" });
      unmountBelow(directory);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Unmounts what an engine left mounted below a folder of ours, deepest first. */
export function unmountBelow(directory: string): void {
  const table = execFileSync("cat", ["/proc/self/mounts"], { encoding: "utf8" });
  const below = table
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((target) => target.startsWith(`${directory}/`))
    .reverse();
  for (const target of below) spawnSync("umount", ["--lazy", target], { stdio: "ignore" });
}
