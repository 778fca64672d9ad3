/** Facts about the machine and the peers, printed with every run: a number means nothing alone. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";

export type MachineFacts = Readonly<Record<string, string>>;

// biome-ignore format: table
const versionCommands: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["runc",   ["runc", "--version"],   /runc version (\S+)/],
  ["crun",   ["crun", "--version"],   /crun version (\S+)/],
  ["bwrap",  ["bwrap", "--version"],  /bubblewrap (\S+)/],
  ["podman", ["podman", "--version"], /podman version (\S+)/],
  ["docker", ["dockerd", "--version"], /version ([^\s,]+)/],
  ["skopeo", ["skopeo", "--version"], /version (\S+)/],
  ["umoci",  ["umoci", "--version"],  /version (\S+)/],
];

export function machineFacts(): MachineFacts {
  const facts: Record<string, string> = {
    date: new Date().toISOString(),
    kernel: release(),
    processor: `${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown"}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    load: loadavg()
      .map((value) => value.toFixed(2))
      .join(" "),
    system: /PRETTY_NAME="([^"]*)"/.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    node: process.version,
    commit: outputOf(["git", "rev-parse", "--short", "HEAD"])?.trim() ?? "unknown",
  };
  for (const [name, command, pattern] of versionCommands) {
    const version = pattern.exec(outputOf(command) ?? "")?.[1];
    if (version !== undefined) facts[name] = version;
  }
  return facts;
}

function outputOf([file = "", ...args]: readonly string[]): string | undefined {
  try {
    return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return undefined; // Not installed.
  }
}
