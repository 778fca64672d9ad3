/**
 * Debian packages that our own commands need, each with the file that shows it is there.
 *
 * manyworlds itself needs none of them. They are real registries to pull from, real files to make
 * images of, and peers to be compared with.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { style } from "./terminal.ts";

export type Need =
  | "quickstart"
  | "test"
  | "bench"
  | "guest-kernel"
  | "debian-guest"
  | "debian-kernel"
  | "guest-programs";

export interface AptPackage {
  readonly name: string;
  /** A file of the package; when it exists, the package counts as installed. */
  readonly file: string;
  readonly needs: readonly Need[];
  readonly why: string;
}

// biome-ignore format: table
export const aptPackages: readonly AptPackage[] = [
  { name: "busybox-static",  file: "/bin/busybox",                 needs: ["quickstart", "test", "bench"], why: "what the small images contain" },
  { name: "docker-registry", file: "/usr/bin/docker-registry",     needs: ["quickstart", "test", "bench"], why: "a real registry on loopback" },
  { name: "attr",            file: "/usr/bin/setfattr",            needs: ["test"],                        why: "extended attributes in layers" },
  { name: "cpio",            file: "/usr/bin/cpio",                needs: ["test"],                        why: "checks the initramfs writer" },
  { name: "libcap2-bin",     file: "/sbin/setcap",                 needs: ["test"],                        why: "file capabilities in layers" },
  { name: "openssl",         file: "/usr/bin/openssl",             needs: ["test"],                        why: "certificates of registries" },
  { name: "zstd",            file: "/usr/bin/zstd",                needs: ["test"],                        why: "zstd layers" },
  { name: "acpica-tools",    file: "/usr/bin/iasl",                needs: ["test"],                        why: "checks our ACPI tables" },
  { name: "iproute2",        file: "/sbin/ip",                     needs: ["test"],                        why: "network namespaces and tap devices" },
  { name: "passt",           file: "/usr/bin/passt",               needs: ["test"],                        why: "user-mode networking of guests" },
  { name: "erofs-utils",     file: "/usr/bin/fsck.erofs",          needs: ["test"],                        why: "checks our EROFS images" },
  { name: "python3-seccomp", file: "/usr/share/doc/python3-seccomp", needs: ["test"],                      why: "checks our seccomp compiler" },
  { name: "dbus-daemon",     file: "/usr/bin/dbus-daemon",         needs: ["test"],                        why: "answers our D-Bus client" },
  { name: "slirp4netns",     file: "/usr/bin/slirp4netns",         needs: ["test"],                        why: "the network of an ordinary user's Podman" },
  { name: "uidmap",          file: "/usr/bin/newuidmap",           needs: ["test"],                        why: "ranges of IDs for ordinary users" },
  { name: "runc",            file: "/usr/sbin/runc",               needs: ["test", "bench"],               why: "reference for behaviour and speed" },
  { name: "umoci",           file: "/usr/bin/umoci",               needs: ["test", "bench"],               why: "reference for unpacking" },
  { name: "skopeo",          file: "/usr/bin/skopeo",              needs: ["test", "bench"],               why: "reference for pulling and pushing" },
  { name: "crun",            file: "/usr/bin/crun",                needs: ["bench"],                       why: "peer" },
  { name: "bubblewrap",      file: "/usr/bin/bwrap",               needs: ["bench"],                       why: "peer" },
  { name: "podman",          file: "/usr/bin/podman",              needs: ["test", "bench"],               why: "loads what we save, and peer" },
  { name: "docker.io",       file: "/usr/sbin/dockerd",            needs: ["test", "bench"],                       why: "engine that our runtime runs under, and peer" },
  { name: "chromium",        file: "/usr/bin/chromium",            needs: ["test"],                        why: "shows the page of compare" },
  { name: "gcc-multilib",    file: "/usr/lib32/libc.so",           needs: ["guest-programs"],              why: "32-bit programs in guests" },
  { name: "musl-tools",      file: "/usr/bin/musl-gcc",            needs: ["guest-programs"],              why: "musl's programs in guests" },
  { name: "sqlite3",         file: "/usr/bin/sqlite3",             needs: ["guest-programs"],              why: "a data base in guests" },
  { name: "linux-source-6.1",   file: "/usr/src/linux-source-6.1.tar.xz",       needs: ["guest-kernel"],                why: "source of the small guest kernel" },
  { name: "build-essential",    file: "/usr/bin/make",                          needs: ["guest-kernel"],                why: "compiles the kernel" },
  { name: "flex",               file: "/usr/bin/flex",                          needs: ["guest-kernel"],                why: "the kernel's configuration" },
  { name: "bison",              file: "/usr/bin/bison",                         needs: ["guest-kernel"],                why: "the kernel's configuration" },
  { name: "bc",                 file: "/usr/bin/bc",                            needs: ["guest-kernel", "guest-programs"], why: "the kernel's build; long numbers in guests" },
  { name: "libelf-dev",         file: "/usr/include/gelf.h",                    needs: ["guest-kernel"],                why: "the kernel's objtool" },
  { name: "xz-utils",           file: "/usr/bin/xz",                            needs: ["guest-kernel"],                why: "unpacks the source" },
  { name: "mmdebstrap",         file: "/usr/bin/mmdebstrap",                    needs: ["debian-guest"],                why: "builds the Debian guest" },
  { name: "kmod",               file: "/usr/sbin/depmod",                       needs: ["debian-kernel"],               why: "lists the modules of Debian's kernel" },
  { name: "qemu-system-x86",    file: "/usr/bin/qemu-system-x86_64",            needs: ["debian-guest", "bench"],       why: "runs the Debian guest, and peer of the software CPU" },
  { name: "containerd",      file: "/usr/bin/containerd",          needs: ["test", "bench"],                       why: "what docker runs containers with" },
];

export function missingPackages(
  need: Need,
  isThere: (file: string) => boolean = existsSync,
): readonly AptPackage[] {
  return aptPackages.filter((row) => row.needs.includes(need) && !isThere(row.file));
}

/**
 * Installs what `need` lacks, saying so, and returns what is still missing afterwards. On other
 * systems than Debian's, or without root, it installs nothing and says what would have to be there.
 */
export function installPackages(need: Need): readonly AptPackage[] {
  const missing = missingPackages(need);
  if (missing.length === 0) return missing;
  const names = missing.map((row) => row.name);
  const refusal = whyNotApt();
  if (refusal !== undefined) {
    console.error(style.yellow(`Not installed, because ${refusal}: ${names.join(" ")}`));
    return missing;
  }
  for (const row of missing) console.error(`  ${row.name.padEnd(16)} ${style.dim(row.why)}`);
  const fresh = hasPackageLists() && apt("install", names);
  if (!fresh && apt("update", []) && !apt("install", names)) {
    for (const name of names) apt("install", [name]);
  }
  return missingPackages(need);
}

function whyNotApt(): string | undefined {
  if (!existsSync("/usr/bin/apt-get")) return "this system has no apt-get";
  if (process.getuid?.() !== 0) return "only root can install packages";
  return undefined;
}

/** A new machine has none; an old one may have lists of versions that are gone by now. */
function hasPackageLists(): boolean {
  const folder = "/var/lib/apt/lists";
  return existsSync(folder) && readdirSync(folder).some((name) => name.includes("_Packages"));
}

/** Runs apt-get, and shows what it and dpkg say only when it fails. */
function apt(verb: "install" | "update", names: readonly string[]): boolean {
  const args = verb === "update" ? ["update"] : ["install", "--yes", "--no-install-recommends"];
  console.error(style.dim(`  $ apt-get ${[...args, ...names].join(" ")}`));
  const { status, stdout, stderr } = spawnSync("apt-get", ["-qq", ...args, ...names], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
  });
  if (status !== 0) console.error(style.dim(`${stdout}${stderr}`.trimEnd()));
  return status === 0;
}
