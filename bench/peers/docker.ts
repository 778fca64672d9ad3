/**
 * Docker's daemon, ours alone: its data, sockets and containerd in a temporary folder, no bridge
 * and no firewall rules. Stopped by its process id.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeFolder } from "../folder.ts";
import { unmountBelow } from "./podman.ts";

const startLimitMs = 30_000;

export interface Docker extends AsyncDisposable {
  readonly command: readonly string[];
}

/** Throws, with the end of the daemon's log, when it does not come up. */
export async function openDocker(): Promise<Docker> {
  const directory = makeFolder("docker");
  const socket = `unix://${join(directory, "docker.sock")}`;
  const log = join(directory, "log");
  const logFile = openSync(log, "w");
  const daemon = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "TERM", "dockerd", "--bridge=none", "--iptables=false"],
      ...["--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
      ...["--data-root", join(directory, "data"), "--exec-root", join(directory, "exec")],
      ...["--pidfile", join(directory, "pid"), "--host", socket],
    ],
    { stdio: ["ignore", logFile, logFile] },
  );
  closeSync(logFile);
  const command = ["docker", "--host", socket];
  const stop = async () => {
    await end(daemon);
    unmountBelow(directory);
    rmSync(directory, { recursive: true, force: true });
  };
  const deadline = performance.now() + startLimitMs;
  while (!answers(command)) {
    if (performance.now() > deadline || daemon.exitCode !== null) {
      const said = existsSync(log) ? readFileSync(log, "utf8").trim().slice(-800) : "";
      await stop();
      throw new Error(`Cannot start dockerd: ${said}`);
    }
    await sleep(100);
  }
  return { command, [Symbol.asyncDispose]: stop };
}

function answers([file = "", ...flags]: readonly string[]): boolean {
  return spawnSync(file, [...flags, "version"], { stdio: "ignore" }).status === 0;
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}
