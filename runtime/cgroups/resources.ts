/**
 * linux.resources of config.json as files to write.
 * Sources: runtime-spec 1.3 config-linux.md, "Control groups"; kernel documentation
 * admin-guide/cgroup-v1/*.rst and admin-guide/cgroup-v2.rst.
 */
import type { BlockIoResources, DeviceRule, Resources } from "../../oci/index.ts";

export interface CgroupWrite {
  /** v1: which hierarchy; v2: which controller must be there ("" for none). */
  readonly controller: string;
  readonly file: string;
  readonly text: string;
  /** The field it comes from, for messages. */
  readonly field: string;
  /** Written in its place where the kernel has this file. */
  readonly rather?: { readonly file: string; readonly text: string };
}

/** Always allowed: default devices, terminals, making nodes (not using them). As runc does. */
// biome-ignore format: table
const allowedDevices: readonly DeviceRule[] = [
  { allow: true, type: "c", access: "m" }, { allow: true, type: "b", access: "m" },
  { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 8, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 7, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 0, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 5, access: "rwm" },
  { allow: true, type: "c", major: 1, minor: 9, access: "rwm" },
  { allow: true, type: "c", major: 136, access: "rwm" },
  { allow: true, type: "c", major: 5, minor: 2, access: "rwm" },
];

/** The rules in force: those of the specification's default come last, as in runc. */
export function deviceRules(rules: readonly DeviceRule[] = []): readonly DeviceRule[] {
  return [...rules, ...allowedDevices];
}

export function planResourcesV1(resources: Resources): readonly CgroupWrite[] {
  return [
    ...devicesV1(resources.devices),
    ...memoryV1(resources),
    ...cpuV1(resources),
    ...pids(resources),
    ...blkioV1(resources.blockIO),
    ...(resources.hugepageLimits ?? []).map(({ pageSize, limit }) =>
      write("hugetlb", `hugetlb.${pageSize}.limit_in_bytes`, limit, "hugepageLimits"),
    ),
    ...networkV1(resources),
    ...rdma(resources),
  ];
}

function write(
  controller: string,
  file: string,
  value: number | string,
  field: string,
): CgroupWrite {
  return { controller, file, text: String(value), field: `linux.resources.${field}` };
}

function given(
  controller: string,
  file: string,
  value: number | string | undefined,
  field: string,
): readonly CgroupWrite[] {
  return value === undefined ? [] : [write(controller, file, value, field)];
}

function devicesV1(rules: readonly DeviceRule[] | undefined): readonly CgroupWrite[] {
  if (rules === undefined) return [];
  return deviceRules(rules).map((rule) => {
    const file = rule.allow ? "devices.allow" : "devices.deny";
    return write("devices", file, formatDeviceRule(rule), "devices");
  });
}

/** admin-guide/cgroup-v1/devices.rst: "c 1:3 rwm", and "a" for everything. */
export function formatDeviceRule({ type = "a", major, minor, access = "rwm" }: DeviceRule): string {
  const number = (value: number | undefined) =>
    value === undefined || value < 0 ? "*" : String(value);
  return type === "a" ? "a" : `${type} ${number(major)}:${number(minor)} ${access}`;
}

function memoryV1({ memory }: Resources): readonly CgroupWrite[] {
  if (memory === undefined) return [];
  // Unlimited memory makes a limit of memory and swap together meaningless.
  const swap = memory.swap ?? (memory.limit === -1 ? -1 : undefined);
  return [
    ...given("memory", "memory.limit_in_bytes", memory.limit, "memory.limit"),
    ...given("memory", "memory.memsw.limit_in_bytes", swap, "memory.swap"),
    ...given("memory", "memory.soft_limit_in_bytes", memory.reservation, "memory.reservation"),
    ...given("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernelTCP, "memory.kernelTCP"),
    ...given("memory", "memory.swappiness", memory.swappiness, "memory.swappiness"),
    ...(memory.disableOOMKiller === true
      ? [write("memory", "memory.oom_control", 1, "memory.disableOOMKiller")]
      : []),
  ];
}

function cpuV1({ cpu }: Resources): readonly CgroupWrite[] {
  if (cpu === undefined) return [];
  return [
    ...given("cpu", "cpu.idle", cpu.idle, "cpu.idle"),
    ...given("cpu", "cpu.shares", positive(cpu.shares), "cpu.shares"),
    ...given("cpu", "cpu.cfs_period_us", positive(cpu.period), "cpu.period"),
    ...given("cpu", "cpu.cfs_quota_us", nonZero(cpu.quota), "cpu.quota"),
    ...given("cpu", "cpu.cfs_burst_us", cpu.burst, "cpu.burst"),
    ...given("cpu", "cpu.rt_period_us", positive(cpu.realtimePeriod), "cpu.realtimePeriod"),
    ...given("cpu", "cpu.rt_runtime_us", nonZero(cpu.realtimeRuntime), "cpu.realtimeRuntime"),
    ...given("cpuset", "cpuset.cpus", filled(cpu.cpus), "cpu.cpus"),
    ...given("cpuset", "cpuset.mems", filled(cpu.mems), "cpu.mems"),
  ];
}

/** 0 means "not set" where engines fill in every field. */
function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}

function nonZero(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}

function filled(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

function pids({ pids: resources }: Resources): readonly CgroupWrite[] {
  const limit = resources?.limit;
  if (limit === undefined) return [];
  return [write("pids", "pids.max", limit < 0 ? "max" : limit, "pids.limit")];
}

function blkioV1(io: BlockIoResources | undefined): readonly CgroupWrite[] {
  if (io === undefined) return [];
  const rates = (file: string, list: BlockIoResources["throttleReadBpsDevice"], field: string) =>
    (list ?? []).map(({ major, minor, rate }) =>
      write("blkio", `blkio.throttle.${file}`, `${major}:${minor} ${rate}`, `blockIO.${field}`),
    );
  return [
    ...given("blkio", "blkio.weight", positive(io.weight), "blockIO.weight"),
    ...given("blkio", "blkio.leaf_weight", positive(io.leafWeight), "blockIO.leafWeight"),
    ...(io.weightDevice ?? []).flatMap(({ major, minor, weight, leafWeight }) => [
      ...(weight === undefined
        ? []
        : [
            write(
              "blkio",
              "blkio.weight_device",
              `${major}:${minor} ${weight}`,
              "blockIO.weightDevice",
            ),
          ]),
      ...(leafWeight === undefined
        ? []
        : [
            write(
              "blkio",
              "blkio.leaf_weight_device",
              `${major}:${minor} ${leafWeight}`,
              "blockIO.weightDevice",
            ),
          ]),
    ]),
    ...rates("read_bps_device", io.throttleReadBpsDevice, "throttleReadBpsDevice"),
    ...rates("write_bps_device", io.throttleWriteBpsDevice, "throttleWriteBpsDevice"),
    ...rates("read_iops_device", io.throttleReadIOPSDevice, "throttleReadIOPSDevice"),
    ...rates("write_iops_device", io.throttleWriteIOPSDevice, "throttleWriteIOPSDevice"),
  ];
}

function networkV1({ network }: Resources): readonly CgroupWrite[] {
  return [
    ...given("net_cls", "net_cls.classid", network?.classID, "network.classID"),
    ...(network?.priorities ?? []).map(({ name, priority }) =>
      write("net_prio", "net_prio.ifpriomap", `${name} ${priority}`, "network.priorities"),
    ),
  ];
}

function rdma({ rdma: limits }: Resources): readonly CgroupWrite[] {
  return Object.entries(limits ?? {}).map(([device, { hcaHandles, hcaObjects }]) => {
    const parts = [
      ...(hcaHandles === undefined ? [] : [`hca_handle=${hcaHandles}`]),
      ...(hcaObjects === undefined ? [] : [`hca_object=${hcaObjects}`]),
    ];
    return write("rdma", "rdma.max", `${device} ${parts.join(" ")}`, "rdma");
  });
}

/** The first field that only v1 can put into force: refused, not passed over. */
export function unknownToV2({ memory, cpu, blockIO, network }: Resources): string | undefined {
  // biome-ignore format: table
  const given: readonly (readonly [field: string, isGiven: boolean])[] = [
    ["memory.kernelTCP",        (memory?.kernelTCP ?? 0) > 0],
    ["memory.swappiness",       memory?.swappiness !== undefined],
    ["memory.disableOOMKiller", memory?.disableOOMKiller === true],
    ["cpu.realtimeRuntime",     (cpu?.realtimeRuntime ?? 0) > 0],
    ["cpu.realtimePeriod",      (cpu?.realtimePeriod ?? 0) > 0],
    ["blockIO.leafWeight",      (blockIO?.leafWeight ?? 0) > 0],
    ["network.classID",         (network?.classID ?? 0) > 0],
    ["network.priorities",      (network?.priorities?.length ?? 0) > 0],
  ];
  return given.find(([, isGiven]) => isGiven)?.[0];
}

export function planResourcesV2(resources: Resources): readonly CgroupWrite[] {
  const { unified = {} } = resources;
  return [
    ...memoryV2(resources),
    ...cpuV2(resources),
    ...pids(resources),
    ...ioV2(resources.blockIO),
    ...(resources.hugepageLimits ?? []).map(({ pageSize, limit }) =>
      write("hugetlb", `hugetlb.${pageSize}.max`, limit, "hugepageLimits"),
    ),
    ...rdma(resources),
    ...Object.entries(unified).map(([file, text]) =>
      write(file.slice(0, file.indexOf(".")), file, text, `unified["${file}"]`),
    ),
  ];
}

function memoryV2({ memory }: Resources): readonly CgroupWrite[] {
  if (memory === undefined) return [];
  const amount = (value: number | undefined) =>
    value === undefined || value === 0 ? undefined : value < 0 ? "max" : value;
  return [
    ...given("memory", "memory.max", amount(memory.limit), "memory.limit"),
    ...given("memory", "memory.swap.max", swapV2(memory), "memory.swap"),
    ...given("memory", "memory.low", amount(memory.reservation), "memory.reservation"),
  ];
}

/** v1 limits memory and swap together, v2 swap alone. */
export function swapV2({
  limit = 0,
  swap,
}: NonNullable<Resources["memory"]>): number | "max" | undefined {
  if (swap === undefined || swap === 0) return limit === -1 ? "max" : undefined;
  if (swap < 0) return "max";
  return Math.max(0, swap - limit);
}

function cpuV2({ cpu }: Resources): readonly CgroupWrite[] {
  if (cpu === undefined) return [];
  const shares = positive(cpu.shares);
  return [
    ...given("cpu", "cpu.idle", cpu.idle, "cpu.idle"),
    ...given("cpu", "cpu.weight", shares && sharesToWeight(shares), "cpu.shares"),
    ...given("cpu", "cpu.max", cpuMax(cpu), "cpu.quota"),
    ...given("cpu", "cpu.max.burst", cpu.burst, "cpu.burst"),
    ...given("cpuset", "cpuset.cpus", filled(cpu.cpus), "cpu.cpus"),
    ...given("cpuset", "cpuset.mems", filled(cpu.mems), "cpu.mems"),
  ];
}

/** Shares 2…262144 onto weights 1…10000, linear as runc 1.1 and Kubernetes have it. */
export function sharesToWeight(shares: number): number {
  return 1 + Math.floor(((Math.min(Math.max(shares, 2), 262_144) - 2) * 9999) / 262_142);
}

function cpuMax({ quota, period }: NonNullable<Resources["cpu"]>): string | undefined {
  if (!quota && !period) return undefined;
  const amount = quota !== undefined && quota > 0 ? String(quota) : "max";
  return period ? `${amount} ${period}` : amount;
}

function ioV2(io: BlockIoResources | undefined): readonly CgroupWrite[] {
  if (io === undefined) return [];
  const rates = (key: string, list: BlockIoResources["throttleReadBpsDevice"], field: string) =>
    (list ?? []).map(({ major, minor, rate }) =>
      write("io", "io.max", `${major}:${minor} ${key}=${rate}`, `blockIO.${field}`),
    );
  const weight = positive(io.weight);
  return [
    ...(weight === undefined ? [] : [ioWeight(weight)]),
    ...rates("rbps", io.throttleReadBpsDevice, "throttleReadBpsDevice"),
    ...rates("wbps", io.throttleWriteBpsDevice, "throttleWriteBpsDevice"),
    ...rates("riops", io.throttleReadIOPSDevice, "throttleReadIOPSDevice"),
    ...rates("wiops", io.throttleWriteIOPSDevice, "throttleWriteIOPSDevice"),
  ];
}

/** BFQ, where it schedules, has the weights of v1; else io.weight 1…10000 for blkio's 10…1000. */
function ioWeight(weight: number): CgroupWrite {
  const scaled = 1 + Math.floor(((weight - 10) * 9999) / 990);
  const usual = write("io", "io.weight", scaled, "blockIO.weight");
  return { ...usual, rather: { file: "io.bfq.weight", text: String(weight) } };
}
