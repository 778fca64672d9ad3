/**
 * The two images that benches use, kept in .cache/bench between runs: a small one of
 * busybox-static, and one of several real layers made from Debian packages.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeLayout } from "./oci-layout.ts";

const cache = fileURLToPath(new URL("../../.cache/bench", import.meta.url));

const applets = ["sh", "true", "false", "echo", "cat", "ls", "sleep", "mkdir", "rm", "id", "env"];

/** Packages by layer: small and large files, deep trees, many symlinks, one layer far larger. */
// biome-ignore format: table
const debianLayers: readonly (readonly string[])[] = [
  ["libc6", "libgcc-s1", "libtinfo6", "bash", "coreutils", "perl-base", "tzdata"],
  ["libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "perl-modules-5.36"],
  ["golang-1.19-src"],
  ["vim-runtime", "git", "libicu72", "cpp-12"],
];

export interface TestImage {
  readonly layout: string;
  readonly files: number;
  readonly bytes: number;
}

/** Root file system of a bundle that holds busybox. */
export function busyboxRoot(): string {
  const root = join(cache, "busybox-root");
  if (existsSync(root)) return root;
  const draft = `${root}.draft`;
  rmSync(draft, { recursive: true, force: true });
  for (const folder of ["bin", "proc", "sys", "dev", "tmp", "etc"]) {
    mkdirSync(join(draft, folder), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(draft, "bin/busybox"));
  chmodSync(join(draft, "bin/busybox"), 0o755);
  for (const applet of applets) symlinkSync("busybox", join(draft, "bin", applet));
  renameSync(draft, root);
  return root;
}

export function busyboxImage(): TestImage {
  return makeImage("busybox", () => [busyboxRoot()], "/bin/sh");
}

export function debianImage(): TestImage {
  const roots = debianLayers.map((_, index) => join(cache, `debian-root-${index}`));
  return makeImage("debian", () => roots.map(unpackPackages), "/bin/bash", roots);
}

function makeImage(
  name: string,
  makeRoots: () => readonly string[],
  command: string,
  roots: readonly string[] = [busyboxRoot()],
): TestImage {
  mkdirSync(cache, { recursive: true });
  const layout = join(cache, `${name}.oci`);
  if (!existsSync(layout)) {
    const draft = `${layout}.draft`;
    writeLayout(draft, makeRoots(), command);
    renameSync(draft, layout);
  }
  return { layout, ...sizeOf(roots) };
}

function unpackPackages(root: string, layer: number): string {
  if (existsSync(root)) return root;
  const debs = join(cache, `debs-${layer}`);
  rmSync(debs, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  const packages = debianLayers[layer] ?? [];
  // As root, apt drops to its own user for downloads, which may not write here.
  const options = ["-qq", "-o", "APT::Sandbox::User=root", "download"];
  execFileSync("apt-get", [...options, ...packages], { cwd: debs, stdio: ["ignore", 2, 2] });
  const draft = `${root}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  for (const file of readdirSync(debs)) execFileSync("dpkg", ["-x", join(debs, file), draft]);
  renameSync(draft, root);
  return root;
}

function sizeOf(roots: readonly string[]): { files: number; bytes: number } {
  let files = 0;
  let bytes = 0;
  for (const root of roots) {
    const listing = execFileSync("find", [root, "-mindepth", "1", "-printf", "%s\\n"], {
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    for (const line of listing.split("\n")) {
      if (line === "") continue;
      files += 1;
      bytes += Number(line);
    }
  }
  return { files, bytes };
}
