/** The rungs of manyworlds itself, each through its own command line. */
import { execFileSync } from "node:child_process";
import { chownSync } from "node:fs";
import { join } from "node:path";
import { diagnose } from "../../engine/index.ts";
import { INSIDE, type Workspace } from "../workspace.ts";
import { nothingToClose, type OpenRung, type Rung, RungMissingError } from "./rung.ts";

const NOBODY = 65534;

export const container: Rung = {
  name: "container",
  kind: "ours",
  description: "manyworlds run: namespaces, cgroups, seccomp, capabilities",
  async open(space) {
    await expectRung("container", space);
    if (process.getuid?.() !== 0) {
      throw new RungMissingError("only root has containers without a user namespace", "use sudo");
    }
    return runner(space, { flags: [], root: space.root });
  },
};

export const rootless: Rung = {
  name: "rootless",
  kind: "ours",
  description: "manyworlds run by an ordinary user: a container in a user namespace",
  async open(space) {
    await expectRung("container", space);
    if (process.getuid?.() !== 0) return runner(space, { flags: [], root: space.root });
    const root = space.folder("rootless", 0o700);
    chownSync(root, NOBODY, NOBODY);
    loadAs(space, root, NOBODY);
    const note = `as user ${NOBODY}, with a store of its own`;
    return runner(space, { flags: [], root, user: NOBODY, image: space.imageId, note });
  },
};

export const kvm: Rung = {
  name: "vm-kvm",
  kind: "ours",
  description:
    "manyworlds run --isolation vm: a kernel of its own on VT-x or AMD-V, from a snapshot",
  warmsUp: true,
  open: (space) => openMachine(space, "vm on kvm", "kvm"),
};

export const kvmCold: Rung = {
  name: "vm-kvm-cold",
  kind: "ours",
  description: "the same with --vm-cold: the kernel boots",
  startsOnly: true,
  open: (space) => openMachine(space, "vm on kvm", "kvm", ["--vm-cold"]),
};

export const software: Rung = {
  name: "vm-software",
  kind: "ours",
  description:
    "manyworlds run --isolation vm: a kernel of its own on the software CPU, from a snapshot",
  warmsUp: true,
  open: (space) => openMachine(space, "vm on the software CPU", "software"),
};

export const softwareCold: Rung = {
  name: "vm-software-cold",
  kind: "ours",
  description: "the same with --vm-cold: the kernel boots",
  startsOnly: true,
  open: (space) => openMachine(space, "vm on the software CPU", "software", ["--vm-cold"]),
};

async function openMachine(
  space: Workspace,
  rung: string,
  cpu: string,
  more: readonly string[] = [],
): Promise<OpenRung> {
  await expectRung(rung, space);
  const flags = ["--isolation", "vm", "--cpu", cpu, ...more];
  const note =
    "its monitor has capabilities because the probe's folder is shared with it: without volumes it has none";
  const counts = cpu === "software";
  return runner(space, { flags, root: space.root, ownKernel: true, counts, note });
}

async function expectRung(name: string, space: Workspace): Promise<void> {
  const { rungs } = await diagnose(space.root);
  const rung = rungs.find((each) => each.name === name);
  if (rung?.usable === false) {
    throw new RungMissingError(rung.reason, rung.cure ?? '"manyworlds doctor" says more');
  }
}

interface RunnerOptions {
  readonly flags: readonly string[];
  readonly root: string;
  readonly user?: number;
  readonly image?: string;
  readonly note?: string;
  readonly ownKernel?: true;
  readonly counts?: boolean;
}

function runner(space: Workspace, options: RunnerOptions): OpenRung {
  const { flags, root, user, image = space.image, note, ownKernel, counts } = options;
  const env = user === undefined ? process.env : environmentOf(root);
  const words = [...space.self, "--root", root, "run", "--rm", "--pull", "never", ...flags];
  const isolated = [...words, "--network", "none"];
  const network = ownKernel === true ? "passt" : "host";
  const mount = ["-v", `${space.probeFolder}:${INSIDE}:ro`];
  const as = { env, ...(user !== undefined && { user }) };
  const probe = ["--user", "0", ...mount, "--entrypoint", `${INSIDE}/probe`, image];
  return {
    ...nothingToClose,
    probe: (args) => ({ command: [...isolated, ...probe, ...args], ...as }),
    outward: {
      way: `--network ${network}`,
      to: network === "passt" ? "address" : "loopback",
      probe: (args) => ({ command: [...words, "--network", network, ...probe, ...args], ...as }),
    },
    ...(counts === true && {
      counted: (file: string, args: readonly string[]) => ({
        // Cold: with a snapshot only what comes after it would be counted.
        command: [...isolated, "--vm-cold", `--cpu-stats=${file}`, ...probe, ...args],
        ...as,
      }),
    }),
    run: (command) => ({ command: [...isolated, image, ...command], ...as }),
    sharesKernel: ownKernel !== true,
    writable: "/",
    holdFile: `${INSIDE}/hold`,
    notes: note === undefined ? [] : [note],
  };
}

/** An ordinary user's environment: nothing of root's. */
function environmentOf(home: string): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: home, USER: "nobody" };
}

function loadAs(space: Workspace, root: string, user: number): void {
  const [file = "", ...words] = space.self;
  try {
    execFileSync(file, [...words, "--root", root, "load", "--input", space.archive()], {
      uid: user,
      gid: user,
      cwd: join(root),
      env: environmentOf(root),
      stdio: ["ignore", "ignore", "pipe"],
    });
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    const said = stderr?.toString("utf8").trim() ?? String(error);
    throw new RungMissingError(
      `an ordinary user cannot load the image: ${said}`,
      "let other users read the executable and reach the state root",
    );
  }
}
