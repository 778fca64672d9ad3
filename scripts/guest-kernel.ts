/**
 * `npm run guest:kernel`: builds the small guest kernel from Debian's linux-source-6.1 with the
 * options of vmm-sandbox/guest/kernel-config.ts, once for each source and configuration.
 *
 * The result is .cache/guest-kernel/KEY/{vmlinux,bzImage,config}, and .cache/guest-kernel/current
 * names the latest, as does dist/guest-kernel, where the executable looks; nothing of it is committed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import {
  formatKernelConfig,
  kernelOptions,
  lostOptions,
} from "../vmm-sandbox/guest/kernel-config.ts";
import { installPackages } from "./apt-packages.ts";

const sourceArchive = "/usr/src/linux-source-6.1.tar.xz";
const cache = resolve(".cache/guest-kernel");
/** Where the kernel leaves what we keep, below its source. */
const products = { vmlinux: "vmlinux", bzImage: "arch/x86/boot/bzImage", config: ".config" };

main();

function main(): void {
  const missing = installPackages("guest-kernel");
  if (missing.length > 0)
    throw new Error(`Cannot build a kernel without ${missing.map((row) => row.name).join(", ")}`);
  const config = formatKernelConfig(kernelOptions);
  const key = createHash("sha256")
    .update(readFileSync(sourceArchive))
    .update(config)
    .digest("hex")
    .slice(0, 16);
  const folder = join(cache, key);
  if (!existsSync(folder)) build(folder, config);
  link(key, join(cache, "current"));
  mkdirSync("dist", { recursive: true });
  link("../.cache/guest-kernel/current", "dist/guest-kernel");
  console.log(`Kernel: ${join(cache, "current", "vmlinux")}`);
}

function link(target: string, path: string): void {
  rmSync(path, { force: true });
  symlinkSync(target, path);
}

function build(folder: string, config: string): void {
  const source = join(cache, "source");
  if (!existsSync(source)) unpack(source);
  const fragment = join(cache, "fragment");
  writeFileSync(fragment, config);
  run("make", ["-C", source, "allnoconfig"], { KCONFIG_ALLCONFIG: fragment });
  const lost = lostOptions(kernelOptions, readFileSync(join(source, ".config"), "utf8"));
  if (lost.length > 0)
    throw new Error(`Kconfig dropped ${lost.map(({ option }) => option).join(", ")}`);
  console.error("Building the kernel: this takes about four minutes on two cores");
  run("make", ["-C", source, "-s", `-j${availableParallelism()}`, "bzImage"], {
    // The same source and configuration give the same bytes.
    KBUILD_BUILD_TIMESTAMP: "1970-01-01",
    KBUILD_BUILD_USER: "manyworlds",
    KBUILD_BUILD_HOST: "manyworlds",
  });
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  for (const [name, path] of Object.entries(products))
    copyFileSync(join(source, path), join(unfinished, name));
  run("strip", ["--strip-debug", join(unfinished, "vmlinux")]);
  renameSync(unfinished, folder);
}

function unpack(source: string): void {
  console.error("Unpacking Debian's kernel source");
  const unfinished = `${source}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  run("tar", ["-xf", sourceArchive, "-C", unfinished, "--strip-components=1"]);
  renameSync(unfinished, source);
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): void {
  const result = spawnSync(command, args, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (result.status !== 0)
    throw new Error(`Command "${command} ${args.join(" ")}" ended with ${result.status}`);
}
