/** Sources of bind mounts: made where docker makes them, refused where it refuses. */
import { existsSync, mkdirSync } from "node:fs";
import { ContainerError } from "./errors.ts";
import type { ContainerOptions } from "./options.ts";

export function makeBindSources({ mounts = [] }: Pick<ContainerOptions, "mounts">): void {
  for (const mount of mounts) {
    if (mount.type !== "bind" || existsSync(mount.source)) continue;
    const { source, createSource = false } = mount;
    if (!createSource) {
      throw new ContainerError(`Cannot mount "${source}": it does not exist on the host`, {
        hint: "make it first, or use -v, which makes a directory",
      });
    }
    try {
      mkdirSync(source, { recursive: true });
    } catch (cause) {
      throw new ContainerError(`Cannot make "${source}" to mount it`, { cause });
    }
  }
}
