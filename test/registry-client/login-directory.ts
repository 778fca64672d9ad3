/** Directories with a config.json and credential helpers of the tests' own. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const base64 = (text: string) => Buffer.from(text).toString("base64");
export const HUB = "https://index.docker.io/v1/";

/** A directory whose `bin` is first in PATH while the test runs. */
export function withDirectory<T>(
  run: (directory: string, config: (value: unknown) => string) => Promise<T>,
): () => Promise<T> {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-login-"));
    const before = process.env["PATH"];
    mkdirSync(join(directory, "bin"));
    process.env["PATH"] = `${join(directory, "bin")}:${before}`;
    try {
      return await run(directory, (value) => {
        const path = join(directory, "config.json");
        writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
        return path;
      });
    } finally {
      process.env["PATH"] = before;
      rmSync(directory, { recursive: true, force: true });
    }
  };
}

export function installHelper(directory: string, name: string, script: string): void {
  const path = join(directory, "bin", `docker-credential-${name}`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

/** Keeps logins in files; speaks the whole protocol. */
export const fileHelper = (directory: string) => `
dir="${directory}/kept"; mkdir -p "$dir"; input=$(cat)
key() { printf %s "$1" | tr -c 'a-zA-Z0-9' _; }
case "$1" in
  get) f="$dir/$(key "$input")"; [ -f "$f" ] && cat "$f" || { echo "credentials not found in native keychain"; exit 1; } ;;
  store) url=$(printf %s "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/'); printf %s "$input" > "$dir/$(key "$url")" ;;
  erase) rm -f "$dir/$(key "$input")" ;;
  *) echo unknown; exit 1 ;;
esac`;
