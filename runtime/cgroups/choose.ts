/** Which cgroup a container will have: where its configuration wants it, or none. */
import type { RuntimeConfig } from "../../oci/index.ts";
import { isOrdinaryUser } from "../privilege.ts";
import { CgroupError, type CgroupPlace, mayMakeCgroup, placeCgroup } from "./cgroup.ts";
import type { CgroupLayout } from "./hierarchies.ts";
import type { SystemdDriver } from "./systemd/scope.ts";

interface Wanted {
  readonly id: string;
  readonly config: RuntimeConfig;
  readonly systemd?: SystemdDriver;
}

export function chooseCgroup(
  layout: CgroupLayout,
  { id, config, systemd }: Wanted,
): CgroupPlace | undefined {
  if (systemd !== undefined) return systemd.placeScope(layout, config, id);
  return usableCgroup(placeCgroup(layout, config.linux?.cgroupsPath, id), config);
}

/**
 * An ordinary user has a cgroup only where one was delegated to them. Without it they run without,
 * as with runc; but limits that could not be kept are refused.
 */
function usableCgroup(place: CgroupPlace, { linux }: RuntimeConfig): CgroupPlace | undefined {
  if (!isOrdinaryUser() || mayMakeCgroup(place)) return place;
  const { devices: _, ...limits } = linux?.resources ?? {};
  const [first] = Object.keys(limits);
  if (first !== undefined)
    throw new CgroupError(`linux.resources.${first}`, "no cgroup here is delegated to this user");
  return undefined;
}
