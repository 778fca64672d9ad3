/**
 * The bun executable that npm installed: a file inside one of bun's per-platform packages, so
 * nothing is downloaded and nothing needs PATH.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function bunExecutable(): string {
  const modules = fileURLToPath(new URL("../node_modules", import.meta.url));
  const platform = `${process.platform}-${process.arch === "arm64" ? "aarch64" : process.arch}`;
  const candidates = ["", "-baseline", "-musl", "-musl-baseline"].map(
    (variant) => `${modules}/@oven/bun-${platform}${variant}/bin/bun`,
  );
  const found = candidates.find((file) => existsSync(file));
  if (found === undefined) {
    throw new Error(`Cannot find bun for ${platform}; expected ${candidates[0]}: run "npm ci"`);
  }
  return found;
}
