/** Facts about the machine and what is installed on it: a number means nothing alone. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";

export type MachineFacts = Readonly<Record<string, string>>;

// biome-ignore format: table
const versionCommands: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["runc",   ["runc", "--version"],               /runc version (\S+)/],
  ["crun",   ["crun", "--version"],               /crun version (\S+)/],
  ["bwrap",  ["bwrap", "--version"],              /bubblewrap (\S+)/],
  ["podman", ["podman", "--version"],             /podman version (\S+)/],
  ["docker", ["dockerd", "--version"],            /version ([^\s,]+)/],
  ["qemu",   ["qemu-system-x86_64", "--version"], /version (\S+)/],
  ["skopeo", ["skopeo", "--version"],             /version (\S+)/],
  ["umoci",  ["umoci", "--version"],              /version (\S+)/],
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
    system: systemName(),
    engine: "Bun" in globalThis ? `Bun ${process.versions["bun"]}` : `Node ${process.version}`,
  };
  for (const [name, command, pattern] of versionCommands) {
    const version = pattern.exec(outputOf(command) ?? "")?.[1];
    if (version !== undefined) facts[name] = version;
  }
  return facts;
}

function systemName(): string {
  try {
    return /PRETTY_NAME="([^"]*)"/.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  } catch {
    return "Linux";
  }
}

export function outputOf([file = "", ...args]: readonly string[]): string | undefined {
  try {
    return execFileSync(file, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return undefined; // Not installed.
  }
}
