/**
 * The bun executable that npm installed: a file inside one of bun's packages, so nothing is
 * downloaded and nothing needs PATH.
 */
import { statSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function bunExecutable(): string {
  const modules = fileURLToPath(new URL("../node_modules", import.meta.url));
  const machine = process.arch === "arm64" ? "aarch64" : process.arch;
  const candidates = [
    // bun's install script moves its executable here; without that script this is a short text.
    `${modules}/bun/bin/bun.exe`,
    `${modules}/@oven/bun-${process.platform}-${machine}/bin/bun`,
    `${modules}/@oven/bun-${process.platform}-${machine}-musl/bin/bun`,
  ];
  const found = candidates.find(isExecutable);
  if (found === undefined) {
    throw new Error(`Cannot find bun, expected ${candidates[0]}: run "npm ci"`);
  }
  return found;
}

function isExecutable(file: string): boolean {
  const smallestBytes = 1024 * 1024;
  const found = statSync(file, { throwIfNoEntry: false });
  return found !== undefined && found.size > smallestBytes;
}
