/** Who owns a container's cgroup: runtime-spec 1.3 config-linux.md, "Cgroup ownership". */
import { call, syscall } from "../../linux/index.ts";
import type { IdMapping, RuntimeConfig } from "../../oci/index.ts";
import { readTextIfThere } from "../files.ts";
import { isOrdinaryUser } from "../privilege.ts";
import type { CgroupPlace } from "./cgroup.ts";

/** cgroup-v2.rst, "Model of Delegation"; for kernels older than /sys/kernel/cgroup/delegate. */
const delegatedFiles = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control";
const ENOENT = -2;

/**
 * v2: gives the cgroup to the container's user when the container has a cgroup namespace and may
 * write to its cgroup mount; so that systemd, for one, can run in there. What limits the container
 * stays ours.
 */
export function giveCgroup(place: CgroupPlace, config: RuntimeConfig): void {
  const directory = place.directories[""];
  const owner = hostUser(config);
  if (directory === undefined || owner === 0 || !isForContainer(config) || isOrdinaryUser()) return;
  call("chown", directory, owner, -1);
  const files = readTextIfThere("/sys/kernel/cgroup/delegate") ?? delegatedFiles;
  for (const file of files.split("\n").filter(Boolean)) {
    const path = `${directory}/${file}`;
    const result = syscall("chown", path, owner, -1);
    if (result < 0 && result !== ENOENT) call("chown", path, owner, -1);
  }
}

function isForContainer({ mounts = [], linux }: RuntimeConfig): boolean {
  const isNamespaced = linux?.namespaces?.some(({ type, path }) => type === "cgroup" && !path);
  const isCgroupMount = ({ type }: { readonly type?: string }) =>
    type === "cgroup" || type === "cgroup2";
  return (
    isNamespaced === true &&
    mounts.some((mount) => isCgroupMount(mount) && mount.options?.includes("ro") !== true)
  );
}

/** The container's user as the host knows it; 0 when that cannot be said. */
function hostUser({ process, linux }: RuntimeConfig): number {
  const uid = process?.user?.uid ?? 0;
  const isMapped = linux?.namespaces?.some(({ type }) => type === "user") === true;
  if (!isMapped) return uid;
  const holds = ({ containerID, size }: IdMapping) =>
    uid >= containerID && uid - containerID < size;
  const mapping = linux?.uidMappings?.find(holds);
  return mapping === undefined ? 0 : mapping.hostID + uid - mapping.containerID;
}
