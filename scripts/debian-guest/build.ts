/**
 * A Debian system as a virtual machine for tests that this machine's kernel cannot run: pure cgroup
 * v2 under systemd, a KVM with hardware behind it.
 *
 * Built once for each list of packages, by mmdebstrap from the apt sources of this machine, into
 * .cache/debian-guest/KEY/{root.erofs,vmlinuz,initramfs}; nothing of it is committed.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { bufferedImageFile, ErofsBuilder, TarReader } from "../../image/erofs/index.ts";
import { encodeElf } from "../../linux/index.ts";
import { encodeInitramfs, type InitramfsEntry } from "../../vmm-sandbox/guest/initramfs.ts";
import { planModules } from "../../vmm-sandbox/guest/kernel-modules.ts";
import { planGuestInit } from "./init.ts";

export interface DebianGuest {
  /** EROFS image of the root file system. */
  readonly root: string;
  readonly kernel: string;
  readonly initramfs: string;
}

const cache = resolve(".cache/debian-guest");
const release = "bookworm";
/** Disk and file systems of the first root; the rest is loaded by udev or by the tests. */
const bootModules = ["virtio_pci", "virtio_blk", "erofs", "overlay"];

/** Packages besides a minimal system with systemd and Debian's cloud kernel. */
export async function buildDebianGuest(packages: readonly string[]): Promise<DebianGuest> {
  const wanted = ["systemd-sysv", "dbus", "kmod", "linux-image-cloud-amd64", ...packages];
  const recipe = JSON.stringify([wanted, bootModules, planGuestInit([])]);
  const key = createHash("sha256").update(recipe).digest("hex").slice(0, 16);
  const folder = join(cache, key);
  if (!existsSync(folder)) await build(folder, wanted);
  return {
    root: join(folder, "root.erofs"),
    kernel: join(folder, "vmlinuz"),
    initramfs: join(folder, "initramfs"),
  };
}

async function build(folder: string, packages: readonly string[]): Promise<void> {
  console.error(`Building a Debian guest with ${packages.join(", ")}: about two minutes`);
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const tree = join(unfinished, "tree");
  bootstrap(tree, packages);
  copyFileSync(only(join(tree, "boot"), "vmlinuz-"), join(unfinished, "vmlinuz"));
  writeFileSync(join(unfinished, "initramfs"), buildInitramfs(tree));
  await packFolder(tree, join(unfinished, "root.erofs"));
  rmSync(tree, { recursive: true });
  renameSync(unfinished, folder);
}

function bootstrap(tree: string, packages: readonly string[]): void {
  const options = [
    "--quiet",
    "--mode=root",
    "--variant=minbase",
    `--include=${packages.join(",")}`,
  ];
  const result = spawnSync("mmdebstrap", [...options, release, tree, ...aptSources()], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (result.status !== 0) throw new Error(`mmdebstrap ended with ${result.status}`);
}

/** The guest's packages come from wherever this machine's do. */
function aptSources(): readonly string[] {
  const folder = "/etc/apt/sources.list.d";
  const listed = existsSync(folder) ? readdirSync(folder).sort() : [];
  const files = listed.filter((name) => /\.(list|sources)$/.test(name));
  const all = ["/etc/apt/sources.list", ...files.map((name) => join(folder, name))];
  return all.filter((path) => existsSync(path));
}

function buildInitramfs(tree: string): Uint8Array {
  const modules = only(join(tree, "lib/modules"), "");
  const text = (name: string) => readFileSync(join(modules, name), "utf8");
  const paths = planModules(bootModules, text("modules.dep"), text("modules.builtin"));
  const flat = paths.map((path) => `modules/${path.slice(path.lastIndexOf("/") + 1)}`);
  const directories = ["dev", "modules", "lower", "memory", "root"];
  const entries: InitramfsEntry[] = [
    ...directories.map((path) => ({ path, type: "directory" }) as const),
    { path: "dev/console", type: "character", major: 5, minor: 1 },
    ...paths.map((path, index) => {
      const data = readFileSync(join(modules, path));
      return { path: flat[index] ?? path, type: "file", data } as const;
    }),
    { path: "init", type: "file", mode: 0o755, data: encodeElf(planGuestInit(flat)) },
  ];
  return encodeInitramfs(entries);
}

/** Packs a folder as an EROFS image, through GNU tar and our own writer. */
export async function packFolder(
  folder: string,
  image: string,
  excluded: readonly string[] = [],
): Promise<void> {
  const tar = spawn(
    "tar",
    [
      ...["--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner"],
      ...excluded.map((pattern) => `--exclude=${pattern}`),
      ...["-C", folder, "-cf", "-", "."],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const ended = new Promise<number | null>((done) => tar.once("close", done));
  const file = openSync(image, "w");
  try {
    const builder = new ErofsBuilder(bufferedImageFile(file));
    builder.beginLayer();
    const reader = new TarReader(builder);
    for await (const chunk of tar.stdout) reader.push(chunk);
    if ((await ended) !== 0) throw new Error(`Cannot pack "${folder}": tar failed`);
    reader.finish();
    builder.finish(image);
  } finally {
    closeSync(file);
  }
}

/** The one entry of a folder that begins with `prefix`. */
function only(folder: string, prefix: string): string {
  const [name, ...others] = readdirSync(folder).filter((entry) => entry.startsWith(prefix));
  if (name === undefined || others.length > 0)
    throw new Error(`Expected one "${prefix}…" in "${folder}"`);
  return join(folder, name);
}
