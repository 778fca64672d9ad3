/** What making a container would do, as a program that is not run: for `manyworlds explain`. */
import { type Fd, formatRow } from "../linux/index.ts";
import type { RuntimeConfig } from "../oci/index.ts";
import { everyCapability, permittedCapabilities } from "./capabilities.ts";
import { placeCgroup } from "./cgroups/cgroup.ts";
import { readCgroupLayout } from "./cgroups/hierarchies.ts";
import { cgroupMountsOf } from "./cgroups/mounts.ts";
import { exists, isDirectory, isProcfs } from "./files.ts";
import { planNamespaces } from "./launch/namespaces.ts";
import { type LaunchPlan, planLaunch, type RootMount } from "./launch/plan.ts";
import { rootResolver } from "./root-facts.ts";
import { checkConfig } from "./validate.ts";

export interface ExplainOptions {
  readonly id: string;
  readonly bundle: string;
  readonly rootMount?: RootMount;
}

/** Numbers that descriptors would have: the program names them, nobody opens them here. */
const SYNC = 3;
const CONSOLE = 4;
const FIRST_CGROUP = 5;

export function explainLaunch(config: RuntimeConfig, options: ExplainOptions): LaunchPlan {
  const { id, bundle, rootMount } = options;
  checkConfig(config);
  const layout = readCgroupLayout();
  const place = layout && placeCgroup(layout, config.linux?.cgroupsPath, id);
  const namespaces = planNamespaces(config.linux?.namespaces);
  const path = config.root?.path ?? "rootfs";
  const rootfs = path.startsWith("/") ? path : `${bundle}/${path}`;
  using opened = new OpenedRoot();
  return planLaunch(config, {
    rootfs,
    resolveInRoot: rootResolver(rootfs, rootMount, (root) => opened.use(root)),
    sync: SYNC,
    cgroupFds: Object.keys(place?.directories ?? {}).map((_, index) => FIRST_CGROUP + index),
    joined: new Map(namespaces.joined.map(({ type }, index) => [type, 64 + index])),
    preserveFds: 0,
    noPivot: false,
    hooks: false,
    hasKcore: exists("/proc/kcore"),
    rootless: process.geteuid?.() !== 0,
    grantable: namespaces.has("user") ? everyCapability : permittedCapabilities(),
    cgroups: cgroupMountsOf(layout, place, namespaces.created.has("cgroup")),
    isProcfs,
    isDirectory: (source) => isDirectory(source) ?? true,
    ...(config.process?.terminal === true && { console: CONSOLE }),
    ...(rootMount !== undefined && { rootMount }),
  });
}

/** The root is looked into while the plan is made. */
class OpenedRoot implements Disposable {
  #root: Fd | undefined;

  use(root: Fd): void {
    this.#root = root;
  }

  [Symbol.dispose](): void {
    this.#root?.close();
  }
}

/** A line for each call, its note behind it. */
export function formatLaunch({ program }: LaunchPlan): string {
  return program.rows.map((row) => `${formatRow(row)}\n`).join("");
}
