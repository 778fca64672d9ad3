/**
 * What must be right in config.json before anything is changed; each refusal names the field.
 * Source: runtime-spec 1.3 config.md and config-linux.md, the sentences with MUST.
 */
import { MS_BIND } from "../linux/index.ts";
import { type Hook, type Linux, type RuntimeConfig, SpecError } from "../oci/index.ts";
import { parseMountOptions } from "./launch/mount-options.ts";
import { checkMemoryPolicy } from "./launch/placement.ts";
import { checkSeccompProfile } from "./seccomp/compile.ts";
import { hasAppArmor, hasSelinux } from "./security-modules.ts";

/** Versions that engines write; what is compared first spares compiling the expression below. */
const usualVersions = new Set(["1.0.0", "1.0.1", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.0", "1.3.0"]);
const supportedMajor = "1";

function broken(path: string, problem: string): SpecError {
  return new SpecError({ document: "config.json", path, problem });
}

export function checkConfig(config: RuntimeConfig): void {
  checkVersion(config.ociVersion);
  checkProcess(config);
  checkMounts(config);
  checkNamespaced(config);
  checkHooks(config);
  checkLinux(config);
  checkUnsupported(config);
}

function checkHooks({ hooks = {} }: RuntimeConfig): void {
  for (const [name, list] of Object.entries(hooks))
    for (const [index, hook] of (list as readonly Hook[]).entries()) {
      const path = `hooks.${name}[${index}]`;
      if (!hook.path?.startsWith("/")) throw broken(`${path}.path`, "must be absolute");
      if (hook.timeout !== undefined && !(hook.timeout > 0))
        throw broken(`${path}.timeout`, "must be greater than zero");
    }
}

// biome-ignore format: table
const propagations = new Set([
  "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable",
]);

function checkLinux({ linux = {} }: RuntimeConfig): void {
  const { rootfsPropagation, personality, devices = [], seccomp } = linux;
  if (rootfsPropagation && !propagations.has(rootfsPropagation))
    throw broken("linux.rootfsPropagation", `is ${JSON.stringify(rootfsPropagation)}`);
  if (personality !== undefined && !["LINUX", "LINUX32"].includes(personality.domain))
    throw broken("linux.personality.domain", `is ${JSON.stringify(personality.domain)}`);
  for (const { type, path } of devices) {
    if (!["c", "b", "u", "p"].includes(type))
      throw broken("linux.devices", `has type ${JSON.stringify(type)}, expected c, b, u or p`);
    if (typeof path !== "string" || path === "") throw broken("linux.devices", "lacks a path");
  }
  if (seccomp !== undefined) checkSeccompProfile(seccomp);
  checkMemoryPolicy(linux);
  checkNetDevices(linux);
}

/** IFNAMSIZ, less the NUL. */
const deviceNameLimit = 15;

function checkNetDevices({ netDevices = {}, namespaces = [] }: Linux): void {
  const names = Object.entries(netDevices).map(([name, device]) => device.name || name);
  if (names.length === 0) return;
  if (!namespaces.some(({ type }) => type === "network"))
    throw broken("linux.netDevices", "needs a network namespace");
  for (const name of [...names, ...Object.keys(netDevices)])
    if (name.length > deviceNameLimit || name === "." || name === ".." || /[/:\s]|^$/.test(name))
      throw broken("linux.netDevices", `has ${JSON.stringify(name)}, not a device name`);
  if (new Set(names).size < names.length)
    throw broken("linux.netDevices", "names one device twice");
}

function checkVersion(version: unknown): void {
  if (typeof version !== "string") throw broken("ociVersion", "is missing, expected a version");
  if (usualVersions.has(version)) return;
  const semanticVersion = /^(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;
  const [, major] = semanticVersion.exec(version) ?? [];
  if (major === undefined)
    throw broken("ociVersion", `is ${JSON.stringify(version)}, not a version`);
  if (major !== supportedMajor) throw broken("ociVersion", `is ${version}, expected 1.x`);
}

function checkProcess({ process }: RuntimeConfig): void {
  if (process === undefined) return;
  if (typeof process.cwd !== "string" || !process.cwd.startsWith("/"))
    throw broken("process.cwd", "Cwd must be an absolute path");
  if (process.args === undefined || process.args.length === 0)
    throw broken("process.args", "must not be empty");
  const types = new Set<string>();
  for (const { type, soft, hard } of process.rlimits ?? []) {
    if (types.has(type)) throw broken("process.rlimits", `names ${type} twice`);
    types.add(type);
    if (soft > hard) throw broken("process.rlimits", `has a soft ${type} above the hard one`);
  }
}

function checkMounts({ mounts = [] }: RuntimeConfig): void {
  mounts.forEach((mount, index) => {
    if (typeof mount.destination !== "string" || mount.destination === "")
      throw broken(`mounts[${index}].destination`, "is missing");
    if ((mount.uidMappings === undefined) !== (mount.gidMappings === undefined))
      throw broken(`mounts[${index}].uidMappings`, "and gidMappings go together");
    const { runtime, flags } = parseMountOptions(mount.options);
    const isMapped = runtime.has("idmap") || runtime.has("ridmap") || mount.uidMappings;
    if (isMapped && (flags & MS_BIND) === 0 && mount.type !== "bind")
      throw broken(`mounts[${index}].options`, "map IDs, which is for bind mounts");
    if (runtime.has("tmpcopyup") && mount.type !== "tmpfs")
      throw broken(`mounts[${index}].options`, 'have "tmpcopyup", which is for tmpfs');
  });
}

/** Settings of a namespace that the container does not have would change the host. */
function checkNamespaced({ hostname, domainname, linux }: RuntimeConfig): void {
  const types = new Set((linux?.namespaces ?? []).map(({ type }) => type));
  const created = new Set(
    (linux?.namespaces ?? []).filter(({ path }) => !path).map(({ type }) => type),
  );
  if (hostname && !types.has("uts")) throw broken("hostname", "needs a UTS namespace");
  if (domainname && !types.has("uts")) throw broken("domainname", "needs a UTS namespace");
  if (linux?.timeOffsets !== undefined && !created.has("time"))
    throw broken("linux.timeOffsets", "needs a new time namespace");
  const mapped = (linux?.uidMappings?.length ?? 0) + (linux?.gidMappings?.length ?? 0) > 0;
  if (mapped && !types.has("user")) throw broken("linux.uidMappings", "needs a user namespace");
  if (created.has("user") && !linux?.uidMappings?.length)
    throw broken("linux.uidMappings", "is missing for the new user namespace");
  for (const name of Object.keys(linux?.sysctl ?? {})) checkSysctl(name, types);
  for (const path of [...(linux?.maskedPaths ?? []), ...(linux?.readonlyPaths ?? [])])
    if (!path.startsWith("/")) throw broken("linux.maskedPaths", `has "${path}", not absolute`);
}

// biome-ignore format: table
const ipcSysctls = new Set([
  "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
  "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
]);

function checkSysctl(name: string, types: ReadonlySet<string>): void {
  const normal = name.includes(".") ? name : name.replaceAll("/", ".");
  const path = `linux.sysctl["${name}"]`;
  if (ipcSysctls.has(normal) || normal.startsWith("fs.mqueue.")) {
    if (!types.has("ipc")) throw broken(path, "needs an IPC namespace");
  } else if (normal.startsWith("net.")) {
    if (!types.has("network")) throw broken(path, "needs a network namespace");
  } else if (normal === "kernel.domainname" || normal === "kernel.hostname") {
    if (!types.has("uts")) throw broken(path, "needs a UTS namespace");
  } else if (!normal.startsWith("user."))
    throw broken(path, "is not in a separate kernel namespace");
}

/** Refused by name before anything is changed, rather than passed over. */
function checkUnsupported({ process }: RuntimeConfig): void {
  // linux.mountLabel confines nobody by itself: without SELinux it is warned of (decision 097).
  if (process?.selinuxLabel && !hasSelinux())
    throw broken("process.selinuxLabel", "needs SELinux, which this kernel lacks");
  const apparmor = process?.apparmorProfile;
  if (apparmor && apparmor !== "unconfined" && !hasAppArmor())
    throw broken("process.apparmorProfile", "needs AppArmor, which this kernel lacks");
}
