/** From the flags of `run` and `explain` to what the engine is asked. Pure but for our environment. */
import type { ContainerOptions, SecurityOption } from "../engine/index.ts";
import type { ValuesOf } from "./command.ts";
import { UsageError } from "./errors.ts";
import type { containerFlags } from "./table/run.ts";
import { resolveEnv } from "./values/pair.ts";

type ContainerValues = ValuesOf<typeof containerFlags>;
type Env = Readonly<Record<string, string | undefined>>;

/** @param command what follows the image */
export function toContainerOptions(
  values: ContainerValues,
  command: readonly string[],
  env: Env,
): ContainerOptions {
  const { network, ulimit, entrypoint } = values;
  if (network === "bridge") {
    throw new UsageError("run", 'Network "bridge" is not supported yet', {
      hint: "use --network none for isolation, or --network host to reach the network",
    });
  }
  const options = dropAbsent({
    command: command.length === 0 ? undefined : command,
    hostname: values.hostname,
    domainname: values.domainname,
    // files first, so that -e wins
    env: resolveEnv([...values["env-file"].flat(), ...values.env], env),
    user: values.user,
    groups: values["group-add"],
    workdir: values.workdir,
    tty: values.tty,
    interactive: values.interactive,
    init: values.init,
    readOnly: values["read-only"],
    mounts: [...values.volume, ...values.mount, ...values.tmpfs],
    shmSizeBytes: values["shm-size"],
    network,
    pid: values.pid,
    ipc: values.ipc,
    uts: values.uts,
    cgroupns: values.cgroupns,
    extraHosts: values["add-host"],
    dns: values.dns,
    dnsSearch: values["dns-search"],
    dnsOptions: values["dns-option"],
    privileged: values.privileged,
    capAdd: values["cap-add"],
    capDrop: values["cap-drop"],
    security: mergeSecurity(values["security-opt"]),
    devices: values.device,
    memoryBytes: values.memory,
    memoryReservationBytes: values["memory-reservation"],
    memorySwapBytes: values["memory-swap"],
    cpus: values.cpus,
    cpuShares: values["cpu-shares"],
    cpusetCpus: values["cpuset-cpus"],
    cpusetMems: values["cpuset-mems"],
    pidsLimit: values["pids-limit"],
    oomScoreAdj: values["oom-score-adj"],
    ulimits: ulimit,
    sysctls: Object.fromEntries(values.sysctl),
    labels: readLabels(values),
    annotations: Object.fromEntries(values.annotation),
    stopSignal: values["stop-signal"],
  });
  if (entrypoint === undefined) return options;
  // docker: --entrypoint "" takes the image's away
  return { ...options, entrypoint: entrypoint === "" ? [] : [entrypoint] };
}

function mergeSecurity(options: readonly SecurityOption[]): SecurityOption {
  return Object.assign({}, ...options) as SecurityOption;
}

function readLabels(values: ContainerValues): Readonly<Record<string, string>> {
  const fromFiles = values["label-file"].flat().map((line) => {
    const equals = line.indexOf("=");
    return equals < 0
      ? ([line, ""] as const)
      : ([line.slice(0, equals), line.slice(equals + 1)] as const);
  });
  return Object.fromEntries([...fromFiles, ...values.label]);
}

type Present<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> };

/** Leaves out what is undefined, an empty list, or false: all mean docker's default. */
function dropAbsent<T extends object>(options: T): Partial<Present<T>> {
  const entries = Object.entries(options).filter(([, value]) => {
    if (value === undefined || value === false) return false;
    return typeof value !== "object" || value === null || Object.keys(value).length > 0;
  });
  // SAFE: only keys whose value is there are left
  return Object.fromEntries(entries) as Partial<Present<T>>;
}
