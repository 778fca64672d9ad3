/**
 * Which unit a container is: "slice:prefix:name" of linux.cgroupsPath, as engines write it for
 * runtimes that are called with --systemd-cgroup. systemd.unit(5), systemd.slice(5).
 */

export interface Unit {
  /** "a-b.slice"; "-.slice" is the root. */
  readonly slice: string;
  /** "prefix-name.scope", or a slice of its own. */
  readonly name: string;
}

const nameLimit = 255;
const namePattern = /^[A-Za-z0-9:_.\\@-]+$/;
const defaultPrefix = "manyworlds";

/** Ordinary users have their own systemd, and by default their containers in its user.slice. */
export function parseUnit(cgroupsPath: string | undefined, id: string, isOrdinary: boolean): Unit {
  const [slice, prefix, name, ...more] =
    cgroupsPath === undefined || cgroupsPath === ""
      ? ["", defaultPrefix, id]
      : cgroupsPath.split(":");
  if (slice === undefined || prefix === undefined || !name || more.length > 0)
    throw new Error(
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got ${JSON.stringify(cgroupsPath)} instead`,
    );
  const parent = slice || (isOrdinary ? "user.slice" : "system.slice");
  sliceDirectory(parent);
  const unit = name.endsWith(".slice") ? name : `${prefix}-${name}.scope`;
  if (unit.length > nameLimit || !namePattern.test(unit))
    throw new Error(`Cannot name a systemd unit ${JSON.stringify(unit)}`);
  return { slice: parent, name: unit };
}

/** "a-b.slice" lies in "/a.slice/a-b.slice". */
export function sliceDirectory(slice: string): string {
  const stem = slice.endsWith(".slice") ? slice.slice(0, -".slice".length) : "";
  if (stem === "-") return "";
  const parts = stem.split("-");
  if (!namePattern.test(slice) || slice.length > nameLimit || parts.includes(""))
    throw new Error(`invalid slice name: ${JSON.stringify(slice)}`);
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("-")}.slice`).join("");
}
