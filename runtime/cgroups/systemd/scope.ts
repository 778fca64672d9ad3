/**
 * systemd's cgroup driver: a container is a transient scope. systemd makes the cgroup and moves
 * the launch program into it while that waits; what systemd has no property for is written to the
 * cgroup's files, as without systemd. Ordinary users ask their own systemd (user@UID.service).
 */
import { hasErrno, SIGKILL } from "../../../linux/index.ts";
import type { Resources, RuntimeConfig } from "../../../oci/index.ts";
import { exists, writeExisting } from "../../files.ts";
import { isOrdinaryUser } from "../../privilege.ts";
import { type CgroupPlace, createCgroup, limitCgroup, signalCgroup } from "../cgroup.ts";
import type { CgroupLayout } from "../hierarchies.ts";
import { planAnnotatedProperties } from "./annotations.ts";
import { Bus, type BusAddress, BusError } from "./bus.ts";
import { planResourceProperties } from "./properties.ts";
import { type Property, property } from "./property.ts";
import { parseUnit, sliceDirectory } from "./unit.ts";
import type { Value } from "./values.ts";

/** sd_booted(3). */
const bootedMark = "/run/systemd/system";
const managerPath = "/org/freedesktop/systemd1";
const managerInterface = "org.freedesktop.systemd1.Manager";

/** systemd cannot be asked, or refused. */
export class SystemdError extends Error {
  override readonly name = "SystemdError";
}

/** This file, for those that load it only when it is wanted. */
export interface SystemdDriver {
  readonly placeScope: typeof placeScope;
  readonly startScope: typeof startScope;
  readonly stopScope: typeof stopScope;
  readonly updateScope: typeof updateScope;
  readonly enterScope: typeof enterScope;
}

/** Where the unit's cgroup will be. */
export function placeScope(layout: CgroupLayout, config: RuntimeConfig, id: string): CgroupPlace {
  const isOrdinary = isOrdinaryUser();
  const { slice, name } = parseUnit(config.linux?.cgroupsPath, id, isOrdinary);
  using bus = connect();
  const path = `${rootOf(bus)}${sliceDirectory(slice)}/${name}`;
  const systemd = { unit: name, slice };
  if (layout.version === 2)
    return {
      version: 2,
      directories: { "": layout.mountPoint + path },
      controllers: {},
      systemd,
    };
  const directories: Record<string, string> = {};
  const controllers: Record<string, string> = {};
  for (const { name: hierarchy, mountPoint, controllers: list } of layout.hierarchies) {
    directories[hierarchy] = mountPoint + path;
    for (const controller of list) controllers[controller] = hierarchy;
  }
  return { version: 1, directories, controllers, systemd };
}

/** The top of what this systemd looks after: "" for the system's, user@UID.service for a user's. */
function rootOf(bus: Bus): string {
  const [answer] = bus.call({
    path: managerPath,
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    signature: "ss",
    body: [managerInterface, "ControlGroup"],
  });
  const path =
    typeof answer === "object" && "signature" in answer && typeof answer.value === "string"
      ? answer.value
      : "/";
  return path === "/" ? "" : path;
}

/** Starts the unit with the process in it, and puts the limits into force; or leaves no unit. */
export function startScope(
  place: CgroupPlace,
  { linux, annotations }: RuntimeConfig,
  pid: number,
): void {
  const { unit, slice } = unitOf(place);
  const isSlice = unit.endsWith(".slice");
  const properties = [
    property("Description", "s", `manyworlds container ${unit}`),
    isSlice ? property("Wants", "as", [slice]) : property("Slice", "s", slice),
    ...(isSlice ? [] : [property("Delegate", "b", true), property("PIDs", "au", [pid])]),
    property("DefaultDependencies", "b", false),
    ...["CPU", "Memory", place.version === 1 ? "BlockIO" : "IO", "Tasks"].map((name) =>
      property(`${name}Accounting`, "b", true),
    ),
    ...planResourceProperties(linux?.resources, place.version),
    ...planAnnotatedProperties(annotations),
  ];
  using bus = connect();
  startTransientUnit(bus, unit, properties);
  try {
    createCgroup(place);
    limitCgroup(place, linux?.resources);
    // systemd moves processes in its own hierarchies only: one on v2, some of v1's.
    if (place.version === 1 || isSlice)
      for (const directory of Object.values(place.directories))
        writeExisting(`${directory}/cgroup.procs`, String(pid));
  } catch (error) {
    stopScope(place);
    throw error;
  }
}

function startTransientUnit(bus: Bus, unit: string, properties: readonly Property[]): void {
  const start = () =>
    manager(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", [unit, "replace", properties, []]);
  let answer: readonly Value[];
  try {
    answer = start();
  } catch (error) {
    // Something of that name has failed and nobody has looked: only then it may go.
    if (!isBusError(error, "UnitExists")) throw refusal("start", unit, error);
    tryManager(bus, "ResetFailedUnit", "s", [unit]);
    try {
      answer = start();
    } catch (cause) {
      throw refusal("start", unit, cause);
    }
  }
  awaitJob(bus, unit, answer);
}

/** JobRemoved: u32 id, object path of the job, unit, result. */
function awaitJob(bus: Bus, unit: string, [job]: readonly Value[]): void {
  const { body } = bus.awaitSignal(
    ({ member, body: [, path] }) => member === "JobRemoved" && path === job,
  );
  if (body[3] === "done") return;
  tryManager(bus, "ResetFailedUnit", "s", [unit]);
  throw new SystemdError(`systemd could not change unit "${unit}": its job is "${body[3]}"`);
}

/** Other limits for a running container; the files come after, in limitCgroup(). */
export function updateScope(place: CgroupPlace, resources: Resources): void {
  const properties = planResourceProperties(resources, place.version);
  if (properties.length === 0) return;
  using bus = connect();
  const { unit } = unitOf(place);
  try {
    manager(bus, "SetUnitProperties", "sba(sv)", [unit, true, properties]);
  } catch (error) {
    throw refusal("update", unit, error);
  }
}

/** An ordinary user's process may be moved only by systemd, where it comes from outside. */
export function enterScope(place: CgroupPlace, pid: number): void {
  using bus = connect();
  const { unit } = unitOf(place);
  try {
    manager(bus, "AttachProcessesToUnit", "ssau", [unit, "", [pid]]);
  } catch (error) {
    throw refusal("enter", unit, error);
  }
}

/** Kills what is left in the unit and ends it; a unit that is gone is fine. */
export function stopScope(place: CgroupPlace): void {
  const { unit } = unitOf(place);
  // systemd asks processes politely and then waits: PID 1 of a container would not listen.
  signalCgroup(place, SIGKILL);
  using bus = connect();
  const answer = tryManager(bus, "StopUnit", "ss", [unit, "replace"]);
  if (answer !== undefined) awaitJob(bus, unit, answer);
  tryManager(bus, "ResetFailedUnit", "s", [unit]);
}

function unitOf({ systemd }: CgroupPlace): NonNullable<CgroupPlace["systemd"]> {
  if (systemd === undefined) throw new Error("Expected a cgroup that systemd made");
  return systemd;
}

function manager(bus: Bus, member: string, signature: string, body: readonly Value[]) {
  return bus.call({ path: managerPath, interface: managerInterface, member, signature, body });
}

/** undefined when there is no such unit. */
function tryManager(bus: Bus, member: string, signature: string, body: readonly Value[]) {
  try {
    return manager(bus, member, signature, body);
  } catch (error) {
    if (isBusError(error, "NoSuchUnit")) return undefined;
    throw error;
  }
}

function isBusError(error: unknown, name: string): boolean {
  return error instanceof BusError && error.errorName.endsWith(`.${name}`);
}

function refusal(verb: string, unit: string, cause: unknown): SystemdError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SystemdError(`Cannot ${verb} systemd unit "${unit}": ${reason}`, { cause });
}

function connect(): Bus {
  if (!exists(bootedMark))
    throw new SystemdError(
      `Cannot use --systemd-cgroup: systemd does not run here (there is no "${bootedMark}"); choose the engine's cgroupfs driver`,
    );
  const addresses = isOrdinaryUser() ? userAddresses(process.env) : systemAddresses;
  for (const address of addresses) {
    try {
      return Bus.connect(address);
    } catch (error) {
      if (!hasErrno(error, "ENOENT", "ECONNREFUSED", "EACCES", "ENOTDIR")) throw error;
    }
  }
  const places = addresses.map(({ path }) => JSON.stringify(path)).join(", ");
  throw new SystemdError(`Cannot reach systemd: nobody answers at ${places}`);
}

const systemAddresses: readonly BusAddress[] = [
  { path: "/run/systemd/private", isBus: false },
  { path: "/run/dbus/system_bus_socket", isBus: true },
];

/** "The D-Bus session bus" is the user's; its address is a list, of which unix:path is for us. */
function userAddresses(env: NodeJS.ProcessEnv): readonly BusAddress[] {
  const runtime = env["XDG_RUNTIME_DIR"] || `/run/user/${process.geteuid?.() ?? 0}`;
  const session = /(?:^|;)unix:path=([^,;]+)/.exec(env["DBUS_SESSION_BUS_ADDRESS"] ?? "")?.[1];
  return [
    { path: `${runtime}/systemd/private`, isBus: false },
    ...(session === undefined ? [] : [{ path: session, isBus: true }]),
    { path: `${runtime}/bus`, isBus: true },
  ];
}
