/** A root file system of busybox as a tar, for `import`, made with what every Debian has. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Writes DIRECTORY/image.tar and returns its path. */
export function makeImageTar(directory: string): string {
  const rootfs = join(directory, "rootfs");
  for (const folder of ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr/bin", "var/data"])
    mkdirSync(join(rootfs, folder), { recursive: true });
  cpSync("/bin/busybox", join(rootfs, "bin/busybox"));
  const { stdout } = spawnSync("/bin/busybox", ["--list"], { encoding: "utf8" });
  for (const applet of stdout.trim().split("\n"))
    if (applet !== "busybox") symlinkSync("busybox", join(rootfs, "bin", applet));
  writeFileSync(
    join(rootfs, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
  );
  writeFileSync(join(rootfs, "etc/group"), "root:x:0:\nuser:x:1000:\n");
  writeFileSync(join(rootfs, "var/data/from-image"), "from the image\n");
  const tar = join(directory, "image.tar");
  const made = spawnSync("tar", ["-C", rootfs, "-cf", tar, "."], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`Cannot make the image: ${made.stderr}`);
  rmSync(rootfs, { recursive: true });
  return tar;
}
