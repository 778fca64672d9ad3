/** How a container's cgroup looks from inside: what a mount of type "cgroup" shows. */
import type { CgroupMounts } from "../launch/mounts.ts";
import type { CgroupPlace } from "./cgroup.ts";
import type { CgroupLayout } from "./hierarchies.ts";

export function cgroupMountsOf(
  layout: CgroupLayout | undefined,
  place: CgroupPlace | undefined,
  namespaced: boolean,
): CgroupMounts | undefined {
  if (layout === undefined || place === undefined) return undefined;
  if (layout.version === 2) {
    const source = place.directories[""];
    return namespaced || source === undefined ? { version: 2 } : { version: 2, bindSource: source };
  }
  return {
    version: 1,
    namespaced,
    hierarchies: layout.hierarchies.map(({ name, mountOptions }) => ({
      name,
      options: mountOptions,
      bindSource: place.directories[name] ?? "",
    })),
    // A hierarchy of several controllers is also found by the name of each.
    links: layout.hierarchies
      .filter(({ controllers }) => controllers.length > 1)
      .flatMap(({ name, controllers }) =>
        controllers.map((controller) => ({ name: controller, target: name })),
      ),
  };
}
