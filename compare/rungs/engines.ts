/** podman and docker, with the image in their own stores. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { timeCommand } from "../stopwatch.ts";
import { INSIDE, type Workspace } from "../workspace.ts";
import { needProgram } from "./bundles.ts";
import { nothingToClose, type OpenRung, type Rung, RungMissingError } from "./rung.ts";

export const podman: Rung = {
  name: "podman",
  kind: "peer",
  description: "podman run, with a store of its own in our folder",
  open(space) {
    needProgram("podman", "podman");
    const folder = space.folder("podman");
    const place = (name: string): string => {
      mkdirSync(join(folder, name));
      return join(folder, name);
    };
    const base = [
      ...["podman", "--root", place("root"), "--runroot", place("run"), "--tmpdir", place("tmp")],
      ...["--events-backend", "none"],
    ];
    const image = loadInto([...base, "load", "--input", space.archive()], "podman");
    const { settings, flags, notes } = podmanSettings(base, image);
    return {
      ...engineRung(space, [...base, ...settings], flags, image),
      notes,
      async [Symbol.asyncDispose]() {
        for (const verb of ["rm", "rmi"]) quietly([...base, verb, "--all", "--force"]);
      },
    };
  },
};

interface PodmanSettings {
  readonly settings: readonly string[];
  readonly flags: readonly string[];
  readonly notes: readonly string[];
}

/** As it comes; else with what machines like containers and CI runners need. */
function podmanSettings(base: readonly string[], image: string): PodmanSettings {
  const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
  const plain = ["--cgroup-manager", "cgroupfs"];
  const attempts: readonly PodmanSettings[] = [
    { settings: [], flags: [], notes: [] },
    {
      settings: plain,
      flags: limits,
      notes: ["with cgroupfs and --ulimit, which this machine needs"],
    },
    {
      settings: [...plain, "--runtime", "runc"],
      flags: limits,
      notes: ["on runc, with cgroupfs and --ulimit, which this machine needs"],
    },
  ];
  let said = "";
  for (const attempt of attempts) {
    const run = ["run", "--rm", "--network", "none", ...attempt.flags, image, "/none"];
    const { stderr, status } = timeCommand({ command: [...base, ...attempt.settings, ...run] });
    // 127: it got as far as looking for the program
    if (status === 127 || status === 0) return attempt;
    said = stderr.trim().split("\n").at(-1) ?? "";
  }
  throw new RungMissingError(`podman cannot start a container: ${said}`);
}

export const docker: Rung = {
  name: "docker",
  kind: "peer",
  description: "docker run, by the daemon of this machine",
  open(space) {
    needProgram("docker", "docker.io");
    if (timeCommand({ command: ["docker", "version"] }).status !== 0) {
      throw new RungMissingError("its daemon does not answer", "start dockerd, or set DOCKER_HOST");
    }
    const had =
      timeCommand({ command: ["docker", "image", "inspect", space.imageId] }).status === 0;
    const image = loadInto(["docker", "load", "--input", space.archive()], "docker");
    return {
      ...engineRung(space, ["docker"], [], image),
      strangers: () => shimsOf("containerd-shim"),
      notes: [
        "memory counts the shims and their children, CPU time the client; the daemons that all share are in neither",
      ],
      async [Symbol.asyncDispose]() {
        if (!had) quietly(["docker", "rmi", image]);
      },
    };
  },
};

/** @returns the ID of what was loaded */
function loadInto(command: readonly string[], name: string): string {
  const { status, stdout, stderr } = timeCommand({ command, timeoutMs: 120_000 });
  const id = /(?:sha256:)?([0-9a-f]{64})/.exec(stdout)?.[1];
  if (status === 0 && id !== undefined) return id;
  const said = `${stdout}${stderr}`.trim().split("\n").at(-1) ?? "";
  throw new RungMissingError(`${name} cannot load the image: ${said}`);
}

function engineRung(
  space: Workspace,
  program: readonly string[],
  flags: readonly string[],
  image: string,
): OpenRung {
  const on = (network: string) => [...program, "run", "--rm", "--network", network, ...flags];
  const mount = ["-v", `${space.probeFolder}:${INSIDE}:ro`];
  const inside = ["--user", "0", ...mount, "--entrypoint", `${INSIDE}/probe`, image];
  return {
    ...nothingToClose,
    probe: (args) => ({ command: [...on("none"), ...inside, ...args] }),
    outward: {
      way: "--network host",
      to: "loopback",
      probe: (args) => ({ command: [...on("host"), ...inside, ...args] }),
    },
    run: (command) => ({ command: [...on("none"), image, ...command] }),
    sharesKernel: true,
    writable: "/",
    holdFile: `${INSIDE}/hold`,
    notes: [],
  };
}

/** Processes of this name, from /proc. */
function shimsOf(name: string): readonly number[] {
  const { stdout } = spawnSync("pgrep", ["-f", name], { encoding: "utf8" });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map(Number)
    .filter((pid) => commandLine(pid).includes(name));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

function quietly([file = "", ...args]: readonly string[]): void {
  spawnSync(file, args, { stdio: "ignore" });
}
