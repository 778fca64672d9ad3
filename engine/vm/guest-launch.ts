/**
 * A container's configuration as programs for a guest's agent. Pure: the runtime plans the launch
 * as it does on a host, here it is only told what a guest is like.
 */
import { dirname } from "node:path";
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_TRUNC,
  O_WRONLY,
  type Program,
  type Row,
  SIG_SETMASK,
  sigsetSizeBytes,
} from "../../linux/index.ts";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import { type EncodedFilter, planExec, planLaunch } from "../../runtime/index.ts";
import { type GuestLaunch, REPORT } from "../../vmm-sandbox/index.ts";
import { CGROUP, limitResources, limitsBuffers } from "./guest-limits.ts";

/** Descriptors that rows of the runtime know by number; below the limit of open files. */
const fd = { cgroup: 200, console: 201, report: 202, target: 203 } as const;
const everyCapability = (1n << 41n) - 1n;
const everySignal = new Uint8Array(sigsetSizeBytes).fill(0xff);
const O_RDONLY = 0;

export interface GuestFacts {
  /** Where the container's root lies in the guest. */
  readonly rootfs: string;
  /** Whether the guest has cgroups. */
  readonly cgroups: boolean;
  /** Sources of bind mounts that are files. */
  readonly files: ReadonlySet<string>;
  /** Where a path of the image leads; undefined when to nothing. */
  readonly locate: (path: string) => string | undefined;
}

/** The container's first process. */
export function planGuestLaunch(
  config: RuntimeConfig,
  facts: GuestFacts,
  options: { readonly filter?: EncodedFilter | undefined; readonly init: boolean },
): GuestLaunch {
  const terminal = config.process?.terminal === true;
  const { program, cloneFlags, namespaces } = planLaunch(config, {
    rootfs: facts.rootfs,
    sync: fd.report,
    cgroupFds: facts.cgroups ? [fd.cgroup] : [],
    cgroups: facts.cgroups ? { version: 2 } : undefined,
    joined: new Map(),
    preserveFds: 0,
    noPivot: false,
    hooks: false,
    grantable: everyCapability,
    hasKcore: false,
    rootless: false,
    init: options.init,
    resolveInRoot: facts.locate,
    isDirectory: (source) => !facts.files.has(source),
    isProcfs: () => false,
    ...(terminal && { console: fd.console }),
    ...(options.filter !== undefined && { seccompFilter: options.filter }),
  });
  return {
    terminal,
    before: descriptors(terminal, facts.cgroups),
    // A staged program makes the container's first process itself, and says so as the agent would.
    ...(!namespaces.staged && { cloneFlags }),
    rows: program.rows,
    ...(program.buffers !== undefined && { buffers: program.buffers }),
  };
}

/** Another process in the container whose first one is `pid`. */
export function planGuestExec(
  config: RuntimeConfig,
  process: Process,
  facts: Pick<GuestFacts, "cgroups">,
  target: { readonly pid: number; readonly flags: number },
): GuestLaunch {
  const terminal = process.terminal === true;
  const program = planExec(
    { config, owner: 0 },
    { process, ...(terminal && { console: { number: fd.console } }) },
    {
      sync: fd.report,
      target: fd.target,
      flags: target.flags,
      joinsUser: false,
      grantable: everyCapability,
      entrances: facts.cgroups ? [fd.cgroup] : [],
    },
  );
  return {
    terminal,
    before: [
      ...descriptors(terminal, facts.cgroups),
      { call: "pidfd_open", args: [target.pid, 0], as: "target" },
      { call: "dup3", args: [{ result: "target" }, fd.target, O_CLOEXEC] },
    ],
    rows: program.rows,
    ...(program.buffers !== undefined && { buffers: program.buffers }),
  };
}

function descriptors(terminal: boolean, cgroups: boolean): readonly Row[] {
  return [
    { call: "dup3", args: [{ result: REPORT }, fd.report, O_CLOEXEC] },
    ...(terminal
      ? [{ call: "dup3", args: [{ result: "console" }, fd.console, O_CLOEXEC] } as const]
      : []),
    ...(cgroups ? openCgroup() : []),
    // As on a host, where a launch begins with all signals blocked: --init loses none.
    { call: "rt_sigprocmask", args: [SIG_SETMASK, everySignal, 0, sigsetSizeBytes] },
  ];
}

function openCgroup(): readonly Row[] {
  return [
    {
      call: "openat",
      args: [AT_FDCWD, `${CGROUP}/cgroup.procs`, O_WRONLY | O_CLOEXEC, 0],
      as: "cgroup",
    },
    { call: "dup3", args: [{ result: "cgroup" }, fd.cgroup, O_CLOEXEC] },
  ];
}

/** Whether cgroups are there; `value` of the outcome is 1 or 0. */
export const probeCgroups: Program = {
  rows: [
    {
      call: "openat",
      args: [AT_FDCWD, "/sys/fs/cgroup/cgroup.procs", O_RDONLY | O_CLOEXEC, 0],
      ignore: ["ENOENT"],
    },
    { jump: "missing", if: [{ last: true }, "<", 0] },
    { call: "close", args: [{ last: true }] },
    { end: 1 },
    { label: "missing" },
    { end: 0 },
  ],
};

/** A host directory that the guest sees: a virtio-fs tag and where it is mounted. */
export interface GuestShare {
  readonly tag: string;
  readonly target: string;
  readonly readOnly: boolean;
}

export interface GuestSetup {
  readonly shares: readonly GuestShare[];
  /** Small files, by their place in the guest. */
  readonly files: ReadonlyMap<string, string>;
  readonly resources: NonNullable<RuntimeConfig["linux"]>["resources"];
  readonly cgroups: boolean;
}

const MS_RDONLY = 1;

/** Runs in PID 1, before the container is launched. */
export function planGuestSetup({ shares, files, resources, cgroups }: GuestSetup): Program {
  const folders = [
    ...new Set([
      ...shares.flatMap(({ target }) => parents(target)),
      ...[...files.keys()].flatMap((path) => parents(dirname(path))),
    ]),
  ];
  return {
    rows: [
      ...folders.map(makeDirectory),
      ...shares.map(
        ({ tag, target, readOnly }): Row => ({
          call: "mount",
          args: [tag, target, "virtiofs", readOnly ? MS_RDONLY : 0, 0],
          note: `mount the shared directory on ${target}`,
        }),
      ),
      ...[...files].flatMap(([path, text], index) => writeFile(path, text, `file${index}`)),
      ...(cgroups ? limitResources(resources) : []),
      { end: 0 },
    ],
    buffers: limitsBuffers,
  };
}

function parents(path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "");
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}

function makeDirectory(path: string): Row {
  return { call: "mkdir", args: [path, 0o755], ignore: ["EEXIST"] };
}

function writeFile(path: string, text: string, as: string, mode = 0o644): readonly Row[] {
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  return [
    { call: "openat", args: [AT_FDCWD, path, flags, mode], as, note: `make ${path}` },
    ...(text === ""
      ? []
      : [
          {
            call: "write",
            args: [{ result: as }, text, Buffer.byteLength(text)],
            note: `write to ${path}`,
          } as const,
        ]),
    { call: "close", args: [{ result: as }] },
  ];
}
