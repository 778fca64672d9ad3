/**
 * A container's limits inside of the guest, by cgroup v2 (docs.kernel.org/admin-guide/cgroup-v2.html):
 * memory, number of processes, and what may be done with devices. Processor time is the host's to limit,
 * where the vCPUs are threads, for machines of engines; for our own it is limited here.
 */
import { AT_FDCWD, O_CLOEXEC, O_WRONLY, type Program, type Row } from "../../linux/index.ts";
import type { Resources } from "../../oci/index.ts";
import { deviceFilterBuffers, deviceRules, planDeviceFilter } from "../../runtime/index.ts";
import { ContainerError } from "../errors.ts";

/** Where the container's cgroup lies in the guest. */
export const CGROUP = "/sys/fs/cgroup/container";
const SUBTREE = "/sys/fs/cgroup/cgroup.subtree_control";

/** Buffers of the program that `limitResources` is a part of. */
export const limitsBuffers = deviceFilterBuffers;

/** For PID 1 of the guest. */
export function limitResources(resources: Resources | undefined): readonly Row[] {
  const limits = filesOf(resources ?? {});
  const controllers = new Set(limits.map(([file]) => file.slice(0, file.indexOf("."))));
  return [
    ...[...controllers].flatMap((name) => write(SUBTREE, `+${name}`)),
    { call: "mkdir", args: [CGROUP, 0o755], ignore: ["EEXIST"] },
    ...limits.flatMap(([file, text]) => write(`${CGROUP}/${file}`, text)),
    ...deviceFilter(resources),
  ];
}

/** Throws where the guest's kernel has no cgroups, and something is to be limited. */
export function checkLimits(resources: Resources | undefined): void {
  const limited = [
    ...filesOf(resources ?? {}).map(([file]) => file),
    ...(deviceFilter(resources).length > 0 ? ["devices"] : []),
  ];
  if (limited.length === 0) return;
  throw new ContainerError(
    `Cannot limit what the container asks for (${limited.join(", ")}): the guest's kernel has no cgroups`,
    {
      hint: "use a kernel with CONFIG_CGROUPS, CONFIG_MEMCG, CONFIG_CGROUP_PIDS and CONFIG_CGROUP_BPF",
    },
  );
}

type LimitFile = readonly [file: string, text: string];

function filesOf({ memory, pids, cpu, unified }: Resources): readonly LimitFile[] {
  const limits: LimitFile[] = [];
  if (memory?.limit !== undefined && memory.limit > 0)
    limits.push(["memory.max", String(memory.limit)]);
  if (memory?.reservation !== undefined && memory.reservation > 0)
    limits.push(["memory.low", String(memory.reservation)]);
  if (pids?.limit !== undefined && pids.limit > 0) limits.push(["pids.max", String(pids.limit)]);
  if (cpu?.quota !== undefined && cpu.quota > 0)
    limits.push(["cpu.max", `${cpu.quota} ${cpu.period ?? 100_000}`]);
  return [...limits, ...Object.entries(unified ?? {})];
}

function deviceFilter(resources: Resources | undefined): readonly Row[] {
  if (resources?.devices === undefined) return [];
  return planDeviceFilter(CGROUP, deviceRules(resources.devices));
}

/** Other limits for a container that runs; -1 is none. */
export function planGuestLimits({
  memory,
  pids,
}: {
  readonly memory: number | undefined;
  readonly pids: number | undefined;
}): Program {
  const text = (amount: number) => (amount < 0 ? "max" : String(amount));
  const rows = [
    ...(memory === undefined ? [] : limitLater("memory", text(memory))),
    ...(pids === undefined ? [] : limitLater("pids", text(pids))),
  ];
  return { rows: [...rows, { end: 0 }] };
}

function limitLater(controller: string, text: string): readonly Row[] {
  return [...write(SUBTREE, `+${controller}`), ...write(`${CGROUP}/${controller}.max`, text)];
}

function write(path: string, text: string): readonly Row[] {
  const as = `limit:${path}:${text}`;
  return [
    { call: "openat", args: [AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0], as, note: `open ${path}` },
    {
      call: "write",
      args: [{ result: as }, text, Buffer.byteLength(text)],
      note: `write "${text}" to ${path}`,
    },
    { call: "close", args: [{ result: as }] },
  ];
}
