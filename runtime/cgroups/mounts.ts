/** How a container's cgroup looks from inside: what a mount of type "cgroup" shows. */
import type { CgroupMounts } from "../launch/mounts.ts";
import type { CgroupPlace } from "./cgroup.ts";
import type { CgroupLayout } from "./hierarchies.ts";

export function cgroupMountsOf(
  layout: CgroupLayout | undefined,
  place: CgroupPlace | undefined,
  namespaced: boolean,
): CgroupMounts | undefined {
  if (layout === undefined) return undefined;
  // Without a cgroup of its own the container is where the runtime is.
  if (layout.version === 2) {
    const source = place?.directories[""] ?? layout.mountPoint + layout.own;
    return namespaced ? { version: 2 } : { version: 2, bindSource: source };
  }
  return {
    version: 1,
    namespaced,
    hierarchies: layout.hierarchies.map(({ name, mountOptions, mountPoint, own }) => ({
      name,
      options: mountOptions,
      bindSource: place?.directories[name] ?? mountPoint + own,
    })),
    // A hierarchy of several controllers is also found by the name of each.
    links: layout.hierarchies
      .filter(({ controllers }) => controllers.length > 1)
      .flatMap(({ name, controllers }) =>
        controllers.map((controller) => ({ name: controller, target: name })),
      ),
  };
}
