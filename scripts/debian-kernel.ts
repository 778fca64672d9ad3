/**
 * `npm run guest:debian-kernel`: Debian's unmodified cloud kernel, unpacked from its package, which
 * apt's own client brings from wherever this machine's packages come; nothing of it is committed.
 *
 *   .cache/debian-kernel/{vmlinuz,config,modules/}   modules/ is the package's, with depmod's lists
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPackages } from "./apt-packages.ts";

const folder = fileURLToPath(new URL("../.cache/debian-kernel", import.meta.url));
const metaPackage = "linux-image-cloud-amd64";

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(`Kernel: ${debianKernel()}`);

/** Folder of the kernel, made when it is not there. */
export function debianKernel(): string {
  if (!existsSync(join(folder, "vmlinuz"))) unpackPackage();
  return folder;
}

function unpackPackage(): void {
  const missing = installPackages("debian-kernel").map((row) => row.name);
  if (missing.length > 0)
    throw new Error(`Cannot unpack Debian's kernel without ${missing.join(" and ")}`);
  const unfinished = `${folder}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const name = download(unfinished);
  const tree = join(unfinished, "tree");
  run("dpkg-deb", ["--extract", join(unfinished, only(unfinished, ".deb")), tree]);
  const version = name.slice("linux-image-".length);
  run("depmod", ["--basedir", tree, version]);
  renameSync(join(tree, "boot", `vmlinuz-${version}`), join(unfinished, "vmlinuz"));
  renameSync(join(tree, "boot", `config-${version}`), join(unfinished, "config"));
  renameSync(join(tree, "lib/modules", version), join(unfinished, "modules"));
  rmSync(tree, { recursive: true });
  rmSync(join(unfinished, only(unfinished, ".deb")));
  rmSync(folder, { recursive: true, force: true });
  renameSync(unfinished, folder);
}

/** Brings the package of the newest kernel; its name has the kernel's version. */
function download(into: string): string {
  console.error("Fetching Debian's cloud kernel");
  const known = newest();
  if (known !== undefined && succeeds("apt-get", ["-qq", "download", known], into)) return known;
  // No package lists, or of versions that are gone by now.
  run("apt-get", ["-qq", "update"]);
  const name = newest();
  if (name === undefined)
    throw new Error(
      `Cannot find "${metaPackage}" in apt's package lists: expected a Debian system`,
    );
  run("apt-get", ["-qq", "download", name], into);
  return name;
}

function newest(): string | undefined {
  const { stdout } = spawnSync("apt-cache", ["depends", metaPackage], { encoding: "utf8" });
  return / Depends: (linux-image-\S+)/.exec(stdout ?? "")?.[1];
}

function only(place: string, ending: string): string {
  const names = readdirSync(place).filter((name) => name.endsWith(ending));
  const [name] = names;
  if (name === undefined || names.length > 1)
    throw new Error(`Cannot choose from ${names.length} files "*${ending}": expected one`);
  return name;
}

function succeeds(command: string, args: readonly string[], cwd = "."): boolean {
  return spawnSync(command, args, { cwd, stdio: "ignore" }).status === 0;
}

function run(command: string, args: readonly string[], cwd = "."): void {
  const { status, error } = spawnSync(command, args, {
    cwd,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status === 0) return;
  const why = error === undefined ? `ended with ${status}` : error.message;
  throw new Error(`Cannot run "${command} ${args.join(" ")}": it ${why}`);
}
