/** The engines, each with daemons, state and sockets in a folder of the suite's own. */
import { execFileSync, spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon } from "./daemon.ts";
import { makeImageTar } from "./image.ts";
import type { Engine, EngineName } from "./row.ts";

export interface Place {
  /** Short, because it holds sockets, whose paths have 108 bytes. */
  readonly directory: string;
  /** The reference's binary, and the one under test. */
  readonly runc: string;
  readonly underTest: string;
  /** Containers are scopes of systemd's, in `slice`. */
  readonly systemd?: boolean;
}

const slice = "mwengines.slice";

/** Debian's names of what an engine needs; a missing file is the reason for skipping it. */
// biome-ignore format: table
const needed: Readonly<Record<EngineName, readonly string[]>> = {
  docker:          ["/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd"],
  "docker-bridge": ["/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd", "/usr/sbin/ip"],
  "docker-userns": ["/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd"],
  swarm:           ["/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd"],
  containerd:      ["/usr/bin/containerd", "/usr/bin/ctr"],
  podman:          ["/usr/bin/podman", "/usr/bin/conmon"],
  "podman-rootless": ["/usr/bin/podman", "/usr/bin/conmon", "/usr/bin/newuidmap", "/usr/bin/slirp4netns"],
};

export function missingFor(
  engine: EngineName,
  exists: (file: string) => boolean,
): string | undefined {
  const file = needed[engine].find((path) => !exists(path));
  return file === undefined ? undefined : `there is no ${file}`;
}

export async function startEngine(name: EngineName, place: Place): Promise<Engine> {
  const directory = join(place.directory, name);
  mkdirSync(directory, { mode: 0o711 });
  const own = { ...place, directory };
  if (name === "podman") return startPodman(own);
  if (name === "podman-rootless") return startRootlessPodman(own);
  if (name === "containerd") return startContainerd(own);
  return startDocker(name, own);
}

async function containerdOf(directory: string): Promise<{ daemon: Daemon; socket: string }> {
  const socket = join(directory, "c.sock");
  const config = join(directory, "containerd.toml");
  writeFileSync(
    config,
    `version = 2
root = "${directory}/croot"
state = "${directory}/cstate"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${socket}"
`,
  );
  const log = join(directory, "containerd.log");
  const daemon = await Daemon.start(["containerd", "--config", config], { log, socket });
  return { daemon, socket };
}

/**
 * dockerd without firewall rules, and without a bridge, or with one in a network namespace of the
 * suite's own, where `outside` runs commands. For user namespaces it runs in a mount namespace of
 * its own, where /etc/subuid and /etc/subgid are ours; the host's stay as they are.
 */
async function startDocker(name: EngineName, place: Place): Promise<Engine> {
  const { directory } = place;
  // In a mount namespace of its own dockerd starts a containerd itself, which then sees its mounts.
  const containerd = name === "docker-userns" ? undefined : await containerdOf(directory);
  const socket = join(directory, "d.sock");
  const namespace = name === "docker-bridge" ? makeNamespace() : undefined;
  const flags = [
    ...(namespace === undefined ? ["--bridge=none"] : []),
    "--iptables=false",
    "--ip6tables=false",
    `--data-root=${directory}/data`,
    `--exec-root=${directory}/exec`,
    `--host=unix://${socket}`,
    `--pidfile=${directory}/d.pid`,
    `--config-file=${directory}/daemon.json`,
    ...(place.systemd === true
      ? ["--exec-opt=native.cgroupdriver=systemd", `--cgroup-parent=${slice}`]
      : [`--cgroup-parent=${cgroupParent(directory)}`]),
    `--add-runtime=reference=${place.runc}`,
    `--add-runtime=under-test=${place.underTest}`,
  ];
  writeFileSync(join(directory, "daemon.json"), "{}");
  if (containerd) flags.push(`--containerd=${containerd.socket}`);
  if (name === "swarm") flags.push("--default-runtime=under-test");
  const enter = namespace === undefined ? [] : ["nsenter", `--net=/run/netns/${namespace}`, "--"];
  const command =
    name === "docker-userns" ? remapped(directory, flags) : [...enter, "dockerd", ...flags];
  const log = join(directory, "dockerd.log");
  let docker: Daemon;
  try {
    docker = await Daemon.start(command, { log, socket, timeoutMs: 60_000 });
    importInto(["docker", "-H", `unix://${socket}`], directory);
  } catch (error) {
    await containerd?.daemon[Symbol.asyncDispose]();
    removeNamespace(namespace);
    throw error;
  }
  const none = namespace === undefined ? "--network none" : "";
  return {
    name,
    prelude: `
SOCKET=unix://${socket}
e() { docker -H $SOCKET "$@"; }
outside() { ${enter.join(" ")} "$@"; }
run() { e run --runtime "$RUNTIME" ${none} --name "$NAME" "$@"; }
create() { e create --runtime "$RUNTIME" ${none} --name "$NAME" "$@"; }`,
    async [Symbol.asyncDispose]() {
      await docker[Symbol.asyncDispose]();
      await containerd?.daemon[Symbol.asyncDispose]();
      removeNamespace(namespace);
      unmountBelow(directory);
      removeCgroups(cgroupParent(directory));
    },
  };
}

function makeNamespace(): string {
  const name = `mwe${process.pid}`;
  execFileSync("ip", ["netns", "add", name]);
  execFileSync("ip", ["-n", name, "link", "set", "lo", "up"]);
  return name;
}

function removeNamespace(name: string | undefined): void {
  if (name !== undefined) spawnSync("ip", ["netns", "del", name]);
}

function remapped(directory: string, flags: readonly string[]): readonly string[] {
  const ids = join(directory, "subid");
  writeFileSync(ids, "nobody:200000:65536\nnogroup:200000:65536\n");
  const script = `mount --bind ${ids} /etc/subuid && mount --bind ${ids} /etc/subgid && exec "$@"`;
  const daemon = ["dockerd", "--userns-remap=nobody:nogroup", ...flags];
  return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", ...daemon];
}

async function startContainerd(place: Place): Promise<Engine> {
  const { directory } = place;
  const { daemon, socket } = await containerdOf(directory);
  const cgroup =
    place.systemd === true
      ? `--runc-systemd-cgroup --cgroup ${slice}:mw:$NAME`
      : `--cgroup ${cgroupParent(directory)}/$NAME`;
  const rootfs = join(directory, "bundle-rootfs");
  mkdirSync(rootfs);
  execFileSync("tar", ["-C", rootfs, "-xf", makeImageTar(directory)]);
  return {
    name: "containerd",
    prelude: `
e() { ctr --address ${socket} "$@"; }
[ "$RUNTIME" = under-test ] && BINARY=${place.underTest} || BINARY=${place.runc}
run() { e run --runc-binary "$BINARY" ${cgroup} --rootfs "$@"; }
IMAGE=${rootfs}`,
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      unmountBelow(directory);
      removeCgroups(cgroupParent(directory));
    },
  };
}

async function startPodman(place: Place): Promise<Engine> {
  const { directory } = place;
  const store = `--root ${directory}/root --runroot ${directory}/run ${place.systemd === true ? "--cgroup-manager systemd --storage-driver vfs" : "--cgroup-manager cgroupfs"} --events-backend file`;
  const limits =
    "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --stop-timeout 0";
  const parent = `--cgroup-parent ${place.systemd === true ? slice : cgroupParent(directory)}`;
  importInto(["podman", ...store.split(" ")], directory);
  return {
    name: "podman",
    prelude: `
[ "$RUNTIME" = under-test ] && BINARY=${place.underTest} || BINARY=${place.runc}
e() { podman --runtime "$BINARY" ${store} "$@"; }
run() { e run ${limits} ${parent} --name "$NAME" "$@"; }
create() { e create ${limits} ${parent} --name "$NAME" "$@"; }`,
    async [Symbol.asyncDispose]() {
      unmountBelow(directory);
      removeCgroups(cgroupParent(directory));
    },
  };
}

/**
 * As the user 1000, whose systemd makes the scopes; or as nobody, for whom ranges are written down
 * just in Podman's mount namespace, and without cgroups.
 */
async function startRootlessPodman(place: Place): Promise<Engine> {
  const { directory, runc, underTest, systemd } = place;
  const uid = systemd === true ? 1000 : 65_534;
  const home = join(directory, "home");
  const run = systemd === true ? `/run/user/${uid}` : join(directory, "run");
  for (const path of [directory, home, run]) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    chownSync(path, uid, uid);
  }
  const env = `env -i PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=${home} XDG_RUNTIME_DIR=${run}`;
  const user = `setpriv --reuid ${uid} --regid ${uid} --clear-groups ${env}`;
  const manager = systemd === true ? "systemd" : "cgroupfs";
  const store = `--root ${home}/root --runroot ${home}/run --cgroup-manager ${manager} --events-backend file --storage-driver vfs`;
  const podman = [...withRanges(directory), ...user.split(" "), "podman", ...store.split(" ")];
  importInto(podman, directory);
  const quoted = podman.map((word) => `'${word}'`).join(" ");
  return {
    name: "podman-rootless",
    prelude: `
[ "$RUNTIME" = under-test ] && BINARY=${underTest} || BINARY=${runc}
e() { (cd /; ${quoted} --runtime "$BINARY" "$@"); }
run() { e run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --stop-timeout 0 --name "$NAME" "$@"; }`,
    async [Symbol.asyncDispose]() {
      spawnSync(podman[0] ?? "", [...podman.slice(1), "system", "migrate"]); // ends its pause process
      unmountBelow(directory);
    },
  };
}

function withRanges(directory: string): readonly string[] {
  const ranges = join(directory, "ranges");
  writeFileSync(ranges, "nobody:700000:65536\n1000:700000:65536\n");
  const script = `mount --bind ${ranges} /etc/subuid && mount --bind ${ranges} /etc/subgid && exec "$@"`;
  return ["unshare", "-m", "--propagation", "slave", "sh", "-c", script, "sh"];
}

function importInto(client: readonly string[], directory: string): void {
  const [file = "", ...args] = client;
  const tar = makeImageTar(directory);
  const command = [...args, "import", "--change", 'CMD ["/bin/sh"]', tar, "mw-test:latest"];
  const done = spawnSync(file, command, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`Cannot import the image: ${done.stderr}`);
}

/** Where an engine of the suite puts its containers, so that nothing stays under its usual name. */
function cgroupParent(directory: string): string {
  return directory.replace("/tmp/", "/").replaceAll("/", "-").replace("-", "/");
}

/** Removes what engines made there, deepest first; they delete only the containers' own cgroups. */
function removeCgroups(parent: string): void {
  const script = `for h in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -d "$h${parent}" ] && find "$h${parent}" -depth -type d -exec rmdir {} +
done 2>/dev/null`;
  spawnSync("sh", ["-c", script]);
}

/** Daemons leave mounts of containers that they did not stop themselves. */
function unmountBelow(directory: string): void {
  const targets = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.startsWith(`${directory}/`));
  for (const target of targets.reverse()) spawnSync("umount", ["-l", target]);
}
