/** Device nodes, and which devices a container may open: the rules that runc and docker share. */
import type { DeviceRule, LinuxDevice } from "../../oci/index.ts";
import type { ContainerOptions } from "../options.ts";

/** A device node of the host, read before the configuration is made. */
export interface HostDevice {
  readonly type: "c" | "b";
  readonly major: number;
  readonly minor: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Where it appears in the container. */
  readonly target: string;
  readonly access: string;
}

/** Making nodes is harmless, opening them is what counts; -1 stands for all. */
// biome-ignore format: table
const defaultRules: readonly (readonly [type: "c" | "b", major: number, minor: number, access: string])[] = [
  ["c", -1, -1, "m"],
  ["b", -1, -1, "m"],
  ["c", 1, 3, "rwm"],    // null
  ["c", 1, 5, "rwm"],    // zero
  ["c", 1, 7, "rwm"],    // full
  ["c", 1, 8, "rwm"],    // random
  ["c", 1, 9, "rwm"],    // urandom
  ["c", 5, 0, "rwm"],    // tty
  ["c", 5, 1, "rwm"],    // console
  ["c", 5, 2, "rwm"],    // ptmx
  ["c", 136, -1, "rwm"], // pts/N
];

export function makeDeviceRules(
  { privileged = false }: Pick<ContainerOptions, "privileged">,
  devices: readonly HostDevice[],
): readonly DeviceRule[] {
  if (privileged) return [{ allow: true, access: "rwm" }];
  const own = devices.map(
    ({ type, major, minor, access }) => [type, major, minor, access] as const,
  );
  return [
    { allow: false, access: "rwm" },
    ...[...defaultRules, ...own].map(([type, major, minor, access]) => ({
      allow: true,
      type,
      ...(major >= 0 && { major }),
      ...(minor >= 0 && { minor }),
      access,
    })),
  ];
}

export function makeDeviceNodes(devices: readonly HostDevice[]): readonly LinuxDevice[] {
  return devices.map(({ type, major, minor, mode, uid, gid, target }) => {
    return { type, major, minor, path: target, fileMode: mode & 0o777, uid, gid };
  });
}
