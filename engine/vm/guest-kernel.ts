/**
 * Finds the kernel for a guest: a file (bzImage or vmlinux), or a directory with one, which may be
 * what `npm run guest:kernel` built or Debian's linux-image package, unpacked.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { planModules } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import { readModuleDependencies } from "./module-dependencies.ts";

export interface KernelFiles {
  /** Of the kernel's image. */
  readonly path: string;
  readonly modules: readonly { readonly name: string; readonly path: string }[];
}

export interface KernelWish {
  /** --kernel. */
  readonly kernel?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The state root. */
  readonly root: string;
  /** KVM maps a vmlinux; the software CPU enters in long mode, as a bzImage does. */
  readonly cpu: "kvm" | "software";
  /** Modules that a kernel without them built in must load. */
  readonly modules: readonly string[];
}

/** What Debian's kernels have as modules and every machine uses. */
export const baseModules: readonly string[] = [
  "virtio_mmio",
  "virtio_console",
  "virtio_blk",
  "virtio_rng",
  "vmw_vsock_virtio_transport",
  "erofs",
  "overlay",
];

const HOW =
  "build one with `npm run guest:kernel`, or unpack Debian's linux-image-cloud-amd64 and name its directory with --kernel or MANYWORLDS_KERNEL";

export function findGuestKernel(wish: KernelWish): KernelFiles {
  const named = wish.kernel ?? wish.env["MANYWORLDS_KERNEL"];
  if (named !== undefined && named !== "") {
    const found = lookIn(resolve(named), wish);
    if (found !== undefined) return found;
    throw new ContainerError(
      `Cannot use "${named}" as guest kernel: expected a bzImage, a vmlinux, or a directory with one`,
      { hint: HOW },
    );
  }
  const places = [join(wish.root, "guest-kernel"), ...ownPlaces()];
  for (const place of places) {
    const found = lookIn(place, wish);
    if (found !== undefined) return found;
  }
  const installed = installedKernel(wish);
  if (installed !== undefined) return installed;
  throw new ContainerError(
    `Cannot start a virtual machine: there is no guest kernel in ${places.map((place) => `"${place}"`).join(", ")}, nor Debian's cloud kernel in /boot`,
    { hint: HOW },
  );
}

/** Where `npm run guest:kernel` puts it: in its cache, and beside the executable and the library. */
function ownPlaces(): readonly string[] {
  const here = import.meta.url;
  if (here.includes("/$bunfs/")) return [join(dirname(process.execPath), "guest-kernel")];
  const path = here.endsWith(".ts") ? "../../.cache/guest-kernel/current" : "../guest-kernel";
  return [fileURLToPath(new URL(path, here))];
}

function lookIn(place: string, wish: KernelWish): KernelFiles | undefined {
  const stat = statSync(place, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (stat.isFile()) return { path: place, modules: [] };
  const names = wish.cpu === "kvm" ? ["vmlinux", "bzImage"] : ["bzImage", "vmlinux"];
  const own = names.map((name) => join(place, name)).find((path) => existsSync(path));
  return own !== undefined ? { path: own, modules: [] } : debianKernel(place, wish);
}

function installedKernel(wish: KernelWish): KernelFiles | undefined {
  return debianKernel("/", wish, /^vmlinuz-.*-cloud-amd64$/);
}

/** boot/vmlinuz-VERSION beside lib/modules/VERSION (or usr/lib/modules). */
function debianKernel(
  root: string,
  wish: KernelWish,
  pattern = /^vmlinuz-/,
): KernelFiles | undefined {
  const images = listNames(join(root, "boot"))
    .filter((name) => pattern.test(name))
    .sort();
  for (const image of images.reverse()) {
    const version = image.slice("vmlinuz-".length);
    const modules = ["usr/lib/modules", "lib/modules"]
      .map((folder) => join(root, folder, version))
      .find((folder) => existsSync(folder));
    if (modules === undefined) continue;
    return { path: join(root, "boot", image), modules: chooseModules(modules, wish.modules) };
  }
  return undefined;
}

function chooseModules(folder: string, wanted: readonly string[]): KernelFiles["modules"] {
  const builtin = readText(join(folder, "modules.builtin"));
  const dependencies =
    readText(join(folder, "modules.dep")) || readModuleDependencies(folder, wanted);
  return planModules(wanted, dependencies, builtin).map((file) => {
    if (!file.endsWith(".ko"))
      throw new ContainerError(
        `Cannot use the kernel module "${file}": it is compressed, expected a name that ends in ".ko"`,
        { hint: "decompress the modules, for example with unxz" },
      );
    return { name: file.slice(file.lastIndexOf("/") + 1, -".ko".length), path: join(folder, file) };
  });
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

function listNames(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
