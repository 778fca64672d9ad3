/** The flags of `run`, and those that `explain` shares with it. */
import { asText, choice, command, list, one, optional, toggle } from "../command.ts";
import { parseDetachKeys } from "../values/detach-keys.ts";
import { parseDevice, parseMount, parseTmpfs, parseVolume } from "../values/mount.ts";
import {
  parseAddress,
  parseEnv,
  parseExtraHost,
  parseFullPair,
  parsePair,
  parseSecurityOption,
  parseUlimit,
  readEnvFile,
  readLabelFile,
} from "../values/pair.ts";
import {
  parseAbsolutePath,
  parseBoolean,
  parseBytes,
  parseBytesOrUnlimited,
  parseContainerName,
  parseCpus,
  parseCpuset,
  parseHostname,
  parseInteger,
  parseOomScore,
} from "../values/scalar.ts";

const unchecked = "ask with exec, or from a service around it";
const published = "use --network host, where the program listens on the host's own ports";
const restarted = "run it from a shell loop or a service that restarts it";
const volumes = "mount a directory: -v /path/on/host:/path/in/container";

/** What the container is made of: shared by every verb that makes one. */
// biome-ignore format: table
export const containerFlags = {
  "add-host": list("list", parseExtraHost, "Add a line to /etc/hosts (host:ip)"),
  "annotation": list("map", parseFullPair, "Put an annotation into the runtime configuration"),
  "cap-add": list("list", asText, "Give a Linux capability, or ALL"),
  "cap-drop": list("list", asText, "Take a Linux capability away, or ALL"),
  "cgroupns": choice(["private", "host"], "Cgroup namespace: private or host", { fallback: "private" }),
  "cpu-shares": one("int", parseInteger, "Weight when CPUs are busy", { short: "c" }),
  "cpus": one("decimal", parseCpus, "Number of CPUs it may use"),
  "cpuset-cpus": one("string", parseCpuset, "CPUs it may run on (0-3, 0,1)"),
  "cpuset-mems": one("string", parseCpuset, "NUMA nodes whose memory it may use"),
  "device": list("list", parseDevice, "Pass a device of the host through", { completes: "file" }),
  "dns": list("list", parseAddress, "DNS server for /etc/resolv.conf"),
  "dns-option": list("list", asText, "Option line of /etc/resolv.conf", { aliases: ["dns-opt"] }),
  "dns-search": list("list", asText, "Search domain of /etc/resolv.conf"),
  "domainname": one("string", asText, "NIS domain name"),
  "entrypoint": one("string", asText, "Program to run instead of the image's entry point; \"\" for none"),
  "env": list("list", parseEnv, "Set an environment variable; a bare name takes your value", { short: "e" }),
  "env-file": list("list", readEnvFile, "Read environment variables from a file", { completes: "file" }),
  "group-add": list("list", asText, "Add a supplementary group"),
  "hostname": one("string", parseHostname, "Host name inside the container", { short: "h" }),
  "init": toggle("Run an init as PID 1 that forwards signals and reaps processes"),
  "interactive": toggle("Keep standard input open", { short: "i" }),
  "ipc": choice(["private", "host"], "IPC namespace: private or host"),
  "label": list("list", parsePair, "Label the container", { short: "l" }),
  "label-file": list("list", readLabelFile, "Read labels from a file", { completes: "file" }),
  "memory": one("bytes", parseBytes, "Most memory it may use", { short: "m" }),
  "memory-reservation": one("bytes", parseBytes, "Memory it is pressed back to when there is little"),
  "memory-swap": one("bytes", parseBytesOrUnlimited, "Most memory and swap together; -1 for no limit"),
  "mount": list("mount", parseMount, "Mount a host directory or tmpfs (type=bind,source=…,target=…)"),
  "network": choice(["none", "host", "passt", "bridge"], "Network: none, host, or passt for machines (bridge comes later)", { fallback: "none", aliases: ["net"] }),
  "oom-score-adj": one("int", parseOomScore, "Preference of the OOM killer (-1000 to 1000)"),
  "pid": choice(["private", "host"], "PID namespace: private or host"),
  "pids-limit": one("int", parseInteger, "Most processes it may have; -1 for no limit"),
  "privileged": toggle("Give all capabilities and devices; almost no isolation is left"),
  "read-only": toggle("Mount the root file system read-only"),
  "security-opt": list("list", parseSecurityOption, "seccomp=…, no-new-privileges, apparmor=…"),
  "shm-size": one("bytes", parseBytes, "Size of /dev/shm", { fallback: "64m" }),
  "stop-signal": one("string", asText, "Signal that stops the container"),
  "sysctl": list("map", parseFullPair, "Set a namespaced kernel parameter"),
  "tmpfs": list("list", parseTmpfs, "Mount a tmpfs (PATH[:OPTIONS])"),
  "tty": toggle("Give the program a terminal", { short: "t" }),
  "ulimit": list("ulimit", parseUlimit, "Set a resource limit (NAME=SOFT[:HARD])"),
  "user": one("string", asText, "User, name or number: user[:group]", { short: "u" }),
  "uts": choice(["private", "host"], "UTS namespace: private or host"),
  "volume": list("list", parseVolume, "Mount a host directory (HOST:CONTAINER[:ro])", { short: "v", completes: "file" }),
  "workdir": one("string", parseAbsolutePath, "Working directory, made when it is missing", { short: "w" }),
} as const;

/** How an image is found. */
// biome-ignore format: table
export const imageFlags = {
  "platform": one("string", asText, "Platform of the image, such as linux/arm64"),
  "progress": choice(["auto", "tty", "plain", "json", "none"], "How a pull shows its progress", { fallback: "auto" }),
  "pull": choice(["always", "missing", "never"], "When to ask the registry for the image", { fallback: "missing" }),
  "quiet": toggle("Show no progress of a pull", { short: "q" }),
} as const;

// biome-ignore format: table
export const runFlags = {
  ...containerFlags,
  ...imageFlags,
  "cidfile": one("string", asText, "Write the container's ID to this file", { completes: "file" }),
  "cpu": choice(["auto", "kvm", "software"], "Which CPU a virtual machine uses; implies --isolation vm", { fallback: "auto" }),
  "cpu-stats": optional("file", asText, "Say at the end what the software CPU did; as JSON too, to a file", { bare: "", completes: "file" }),
  "detach": toggle("Run in the background, and print the container's ID", { short: "d" }),
  "detach-keys": one("string", parseDetachKeys, "Keys that leave a container running", { fallback: "ctrl-p,ctrl-q" }),
  "expose": list("list", asText, "Accepted as a note: nothing is published"),
  "gpus": one("gpu-request", asText, "Add GPUs", { later: "name their device files with --device" }),
  "health-cmd": one("string", asText, "Check the container's health", { later: unchecked }),
  "isolation": choice(["auto", "container", "vm"], "What isolates it: auto, container or vm", { fallback: "auto" }),
  "kernel": one("file", asText, "Kernel of a virtual machine: a bzImage, a vmlinux, or a directory", { completes: "file" }),
  "link": list("list", asText, "Link to another container", { later: published }),
  "log-driver": one("string", asText, "Logging driver", { later: "what a container with --detach writes is kept in its directory, see manyworlds logs" }),
  "name": one("string", parseContainerName, "Name of the container"),
  "publish": list("list", asText, "Publish a port", { short: "p", later: published }),
  "publish-all": toggle("Publish all exposed ports", { short: "P", later: published }),
  "restart": one("string", asText, "Restart policy", { later: restarted }),
  "rm": toggle("Remove the container when it ends"),
  "sig-proxy": one("bool", parseBoolean, "Forward signals to the process", { fallback: "true" }),
  "vm-cold": toggle("Boot the virtual machine, even if a snapshot of one like it is there"),
  "vm-console": toggle("Show what a virtual machine's kernel says, on standard error"),
  "volumes-from": list("list", asText, "Mount another container's volumes", { later: volumes }),
} as const;

export const run = command({
  name: "run",
  aliases: ["container run"],
  summary: "Run a command in a new container",
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
  group: "common",
  flags: runFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: false,
  completes: "image",
  notes: [
    "Exit status: the command's own; 125 when manyworlds itself fails, 126 when the",
    "command cannot be run, 127 when it is not found, 128+N when signal N kills it.",
  ],
  load: async () => (await import("../verbs/run.ts")).run,
});

// biome-ignore format: table
export const explainFlags = {
  ...containerFlags,
  ...imageFlags,
  "bundle": one("dir", asText, "Explain an OCI bundle instead of an image", { short: "b", completes: "file" }),
  "format": one("string", asText, "text, json (the rows) or config (the OCI configuration)", { completes: ["text", "json", "config"], fallback: "text" }),
} as const;

export const explain = command({
  name: "explain",
  summary: "Show the system calls that would start a container, one a line",
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...] | --bundle DIR",
  group: "common",
  flags: explainFlags,
  minArgs: 0,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: false,
  completes: "image",
  load: async () => (await import("../verbs/explain.ts")).explain,
});
