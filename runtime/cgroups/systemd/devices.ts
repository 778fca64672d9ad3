/**
 * Device rules as systemd has them: lists of what is allowed, and no others (systemd.resource-
 * control(5), DeviceAllow=). For v1 only, where systemd writes the devices controller's files again
 * and again; on v2 programs of ours and of systemd's stand side by side.
 */
import type { DeviceRule } from "../../../oci/index.ts";
import { readTextIfThere } from "../../files.ts";
import { devicePolicy } from "../device-filter.ts";
import { deviceRules } from "../resources.ts";
import { type Property, property } from "./property.ts";

export function planDeviceProperties(
  rules: readonly DeviceRule[] | undefined,
  procDevices = readTextIfThere("/proc/devices") ?? "",
): readonly Property[] {
  if (rules === undefined) return [];
  const { defaultAllow, exceptions } = devicePolicy(deviceRules(rules));
  if (defaultAllow)
    return [property("DevicePolicy", "s", "auto"), property("DeviceAllow", "a(ss)", [])];
  const allowed = exceptions.flatMap(({ type, major, minor, access }) => {
    const letters = ["m", "r", "w"].filter((_, bit) => access & (1 << bit)).join("");
    return patterns(type === "b" ? "block" : "char", major, minor, procDevices).map((pattern) => [
      pattern,
      letters,
    ]);
  });
  return [property("DevicePolicy", "s", "strict"), property("DeviceAllow", "a(ss)", allowed)];
}

/** A rule of one minor number for all majors has no pattern: the cgroup's files alone have it. */
function patterns(
  kind: "char" | "block",
  major: number | undefined,
  minor: number | undefined,
  procDevices: string,
): readonly string[] {
  if (major === undefined) return minor === undefined ? [`${kind}-*`] : [];
  if (minor !== undefined) return [`/dev/${kind}/${major}:${minor}`];
  return groupsOf(kind, major, procDevices).map((group) => `${kind}-${group}`);
}

/** proc(5), /proc/devices: "Character devices:" and "Block devices:", then "MAJOR NAME" lines. */
function groupsOf(kind: "char" | "block", major: number, procDevices: string): readonly string[] {
  const [characters = "", blocks = ""] = procDevices.split("Block devices:");
  return (kind === "char" ? characters : blocks).split("\n").flatMap((line) => {
    const [number, name] = line.trim().split(/\s+/);
    return name !== undefined && Number(number) === major ? [name] : [];
  });
}
