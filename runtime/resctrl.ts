/**
 * Shares of caches and memory bandwidth: runtime-spec 1.3 config-linux.md, "IntelRdt"; the kernel's
 * arch/x86/resctrl.rst.
 *
 * ```
 * MOUNT/{tasks,schemata}          the default group, closID "/"
 * MOUNT/CLOSID/{tasks,schemata}   a group; without closID the container's ID, and then ours
 * …/mon_groups/ID/tasks           what is monitored of a group: enableMonitoring
 * ```
 */
import { AT_FDCWD, call, Fd, hasErrno, O_CLOEXEC, O_WRONLY } from "../linux/index.ts";
import { type IntelRdt, type Linux, SpecError } from "../oci/index.ts";
import { unescapeOctal } from "./cgroups/hierarchies.ts";
import { isDirectory, readText, writeExisting } from "./files.ts";

/** Where a container is; kept in its record. */
export interface ResctrlPlace {
  readonly group: string;
  /** The group has no other members: it goes with the container. */
  readonly isOwn: boolean;
  readonly monitor?: string;
}

/** Directories of resctrl's own. */
const reserved = new Set([".", "..", "info", "mon_groups", "mon_data"]);
const directoryMode = 0o755;

function broken(field: string, problem: string): SpecError {
  return new SpecError({ document: "config.json", path: `linux.intelRdt${field}`, problem });
}

/** Looks, and makes nothing; undefined when the configuration has none of it. */
export function placeResctrl(
  { intelRdt }: Linux,
  id: string,
  findMount = resctrlMount,
): ResctrlPlace | undefined {
  if (intelRdt === undefined) return undefined;
  const mountPoint = findMount();
  if (mountPoint === undefined)
    throw broken("", "needs the resctrl file system, which is not mounted");
  const { closID, enableMonitoring = false } = intelRdt;
  if (closID !== undefined && closID !== "/" && (/[/\n]|^$/.test(closID) || reserved.has(closID)))
    throw broken(".closID", `is ${JSON.stringify(closID)}, not a name`);
  const lines = schemaLines(intelRdt);
  const group = closID === "/" ? mountPoint : `${mountPoint}/${closID ?? id}`;
  const isThere = isDirectory(group) === true;
  if (closID !== undefined && lines.length === 0 && !isThere)
    throw broken(".closID", `is "${closID}", which nobody has prepared in "${mountPoint}"`);
  if (closID !== undefined && isThere) compareSchemas(group, intelRdt);
  return {
    group,
    isOwn: closID === undefined && !isThere,
    ...(enableMonitoring ? { monitor: `${group}/mon_groups/${id}` } : {}),
  };
}

function resctrlMount(): string | undefined {
  for (const line of readText("/proc/self/mountinfo").split("\n"))
    if (line.includes(" - resctrl ")) return unescapeOctal(line.split(" ")[4] ?? "");
  return undefined;
}

/** In the order in which they must be written. */
function schemaLines({ l3CacheSchema, memBwSchema, schemata = [] }: IntelRdt): readonly string[] {
  if (memBwSchema !== undefined && !memBwSchema.startsWith("MB:"))
    throw broken(".memBwSchema", 'must start with "MB:"');
  const lines = [l3CacheSchema, memBwSchema, ...schemata].filter((line) => line !== undefined);
  if (lines.some((line) => line.includes("\n")))
    throw broken("", "has a schema of several lines, expected one line each");
  return lines.filter((line) => line !== "");
}

/** Makes the groups and says what they may have. */
export function makeResctrl({ group, monitor }: ResctrlPlace, rdt: IntelRdt): void {
  makeGroup(group);
  for (const line of schemaLines(rdt)) write(`${group}/schemata`, `${line}\n`);
  if (monitor !== undefined) makeGroup(monitor);
}

/** Files that a process writes "0" to, in this order; what it starts later is there as well. */
export function openResctrlEntrances({ group, monitor }: ResctrlPlace): readonly Fd[] {
  return [group, monitor]
    .filter((directory) => directory !== undefined)
    .map((directory) => Fd.from("openat", AT_FDCWD, `${directory}/tasks`, O_WRONLY | O_CLOEXEC));
}

/** The kernel gives back what the groups held; gone already is fine. */
export function leaveResctrl({ group, isOwn, monitor }: ResctrlPlace): void {
  for (const directory of [monitor, isOwn ? group : undefined])
    if (directory !== undefined)
      try {
        call("rmdir", directory);
      } catch (error) {
        if (!hasErrno(error, "ENOENT")) throw error;
      }
}

function makeGroup(directory: string): void {
  try {
    call("mkdir", directory, directoryMode);
  } catch (cause) {
    if (hasErrno(cause, "EEXIST")) return;
    const why = hasErrno(cause, "ENOSPC") ? "the processor has no more groups" : String(cause);
    throw broken("", `cannot be put into force: "${directory}": ${why}`);
  }
}

function write(path: string, text: string): void {
  try {
    writeExisting(path, text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw broken("", `cannot be put into force: "${text.trim()}" to "${path}": ${reason}`);
  }
}

/** A group that somebody prepared must be what the configuration expects. */
function compareSchemas(group: string, { l3CacheSchema, memBwSchema }: IntelRdt): void {
  const present = new Map(
    readText(`${group}/schemata`)
      .split("\n")
      .map(parseSchema)
      .map(({ resource, shares }) => [resource, shares]),
  );
  for (const [field, line] of [
    ["l3CacheSchema", l3CacheSchema],
    ["memBwSchema", memBwSchema],
  ] as const) {
    if (line === undefined || line === "") continue;
    const { resource, shares } = parseSchema(line);
    for (const [id, share] of shares)
      if (present.get(resource)?.get(id) !== share)
        throw broken(`.${field}`, `is "${line}", which "${group}/schemata" is not`);
  }
}

/** "L3:0=7f0;1=01f": bit masks, or decimal numbers for memory bandwidth. */
function parseSchema(line: string): {
  readonly resource: string;
  readonly shares: ReadonlyMap<string, string>;
} {
  const [resource = "", list = ""] = line.trim().split(":");
  const shares = list.split(";").map((share): [string, string] => {
    const [id = "", value = ""] = share.split("=");
    return [
      id.trim(),
      value
        .trim()
        .toLowerCase()
        .replace(/^0+(?=.)/, ""),
    ];
  });
  return { resource, shares: new Map(shares) };
}
