/** Peers that run an OCI bundle: with the very configuration that our own container gets. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { explainImage } from "../../engine/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { dockerSeccompProfile } from "../../runtime/index.ts";
import { findProgram, timeCommand } from "../stopwatch.ts";
import { INSIDE, type Workspace } from "../workspace.ts";
import {
  type Invocation,
  nothingToClose,
  type OpenRung,
  type Rung,
  RungMissingError,
} from "./rung.ts";

export const runc = bundleRunner("runc", "runc run: the reference OCI runtime, in Go");
export const crun = bundleRunner("crun", "crun run: the OCI runtime in C");

const CGROUP2 = "/sys/fs/cgroup/unified";

function bundleRunner(name: string, description: string): Rung {
  return { name, kind: "peer", description, open: (space) => openBundles(name, space) };
}

async function openBundles(name: string, space: Workspace): Promise<OpenRung> {
  needProgram(name, name);
  if (process.getuid?.() !== 0)
    throw new RungMissingError("its bundle here needs root", "use sudo");
  const folder = space.folder(name);
  const state = join(folder, "state");
  mkdirSync(state);
  const tree = await space.tree();
  const forProbe = await bundleConfig(space, tree, { probes: true });
  const onHost = withoutNetworkNamespace(forProbe);
  const forCommand = await bundleConfig(space, tree, { probes: false });
  let count = 0;
  const invoke = (config: RuntimeConfig, args: readonly string[]): Invocation => {
    const id = `compare-${process.pid}-${name}-${++count}`;
    const bundle = join(folder, `bundle-${count}`);
    mkdirSync(bundle);
    const process_ = { ...config.process, args };
    writeFileSync(join(bundle, "config.json"), JSON.stringify({ ...config, process: process_ }));
    return { command: [name, "--root", state, "run", "--bundle", bundle, id] };
  };
  const { stderr } = timeCommand(invoke(forProbe, [`${INSIDE}/probe`, "s"]));
  if (stderr.includes("hybrid mode not supported")) {
    throw new RungMissingError(
      `${name} refuses cgroup v1 and v2 side by side`,
      `unshare --mount sh -c "umount ${CGROUP2} && manyworlds compare IMAGE"`,
    );
  }
  return {
    ...nothingToClose,
    probe: (args) => invoke(forProbe, [`${INSIDE}/probe`, ...args]),
    outward: {
      way: "the host's network, without a network namespace",
      to: "loopback",
      probe: (args) => invoke(onHost, [`${INSIDE}/probe`, ...args]),
    },
    run: (command) => invoke(forCommand, [...space.defaults.entrypoint, ...command]),
    sharesKernel: true,
    writable: "/",
    holdFile: `${INSIDE}/hold`,
    notes: ["on the image unpacked into a plain directory, without an overlay"],
  };
}

function withoutNetworkNamespace(config: RuntimeConfig): RuntimeConfig {
  const { linux = {} } = config;
  const namespaces = (linux.namespaces ?? []).filter(({ type }) => type !== "network");
  return { ...config, linux: { ...linux, namespaces } };
}

export function needProgram(program: string, debianPackage: string): void {
  try {
    findProgram(program);
  } catch {
    throw new RungMissingError(`${program} is not installed`, `apt-get install ${debianPackage}`);
  }
}

/** What our own container gets, with the tree as its root. */
async function bundleConfig(
  space: Workspace,
  tree: string,
  { probes }: { readonly probes: boolean },
): Promise<RuntimeConfig> {
  const mount = {
    type: "bind",
    source: space.probeFolder,
    target: INSIDE,
    readOnly: true,
  } as const;
  const { config } = await explainImage({
    image: space.image,
    root: space.root,
    pull: "never",
    container: {
      network: "none",
      mounts: [mount],
      entrypoint: [`${INSIDE}/probe`],
      command: ["s"],
      ...(probes && { user: "0" }),
    },
  });
  const { linux, mounts = [], hostname: _, ...rest } = config;
  const { cgroupsPath: __, ...kernel } = linux ?? {};
  const bounding = config.process?.capabilities?.bounding ?? [];
  return {
    ...rest,
    // what is in it is of this version, and crun 1.8 takes no later one
    ociVersion: "1.0.2",
    hostname: "compare",
    root: { path: tree },
    // files of the explained container, which is gone
    mounts: mounts.filter(({ destination }) => !destination.startsWith("/etc/")),
    linux: { ...kernel, seccomp: dockerSeccompProfile(bounding) },
  };
}
