/** Verbs about containers that have ended, this machine, and the command itself. */
import { asText, choice, command, list, one, toggle } from "../command.ts";
import { parseEnv, readEnvFile } from "../values/pair.ts";
import { parseAbsolutePath } from "../values/scalar.ts";

const format = one("string", asText, "table, json, jsonl, or a template such as '{{.ID}}'", {
  completes: ["table", "json", "jsonl"],
});

export const psFlags = {
  all: toggle("Show ended containers too", { short: "a" }),
  filter: list("filter", asText, "Only what fits, such as name=web or status=exited", {
    short: "f",
  }),
  format,
  "no-trunc": toggle("Do not shorten IDs and texts"),
  quiet: toggle("Print only IDs", { short: "q" }),
};

export const ps = command({
  name: "ps",
  aliases: ["container ls", "container list", "container ps"],
  summary: "List containers",
  usage: "[OPTIONS]",
  group: "common",
  flags: psFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/ps.ts")).ps,
});

export const rmFlags = {
  force: toggle("Kill it when it still runs", { short: "f" }),
  volumes: toggle("Accepted: there are no volumes yet", { short: "v" }),
};

export const rm = command({
  name: "rm",
  aliases: ["container rm", "container remove"],
  summary: "Remove containers",
  usage: "[OPTIONS] CONTAINER [CONTAINER...]",
  group: "common",
  flags: rmFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/rm.ts")).rm,
});

// biome-ignore format: table
export const execFlags = {
  "detach": toggle("Run in the background", { short: "d", later: "put '&' behind the command" }),
  "env": list("list", parseEnv, "Set an environment variable; a bare name takes your value", { short: "e" }),
  "env-file": list("list", readEnvFile, "Read environment variables from a file", { completes: "file" }),
  "interactive": toggle("Keep standard input open", { short: "i" }),
  "privileged": toggle("Give all capabilities", { later: "give them to the container: run --privileged" }),
  "tty": toggle("Give the program a terminal", { short: "t" }),
  "user": one("string", asText, "User, name or number: user[:group]", { short: "u" }),
  "workdir": one("string", parseAbsolutePath, "Working directory", { short: "w" }),
};

export const exec = command({
  name: "exec",
  aliases: ["container exec"],
  summary: "Run a command in a running container",
  usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
  group: "common",
  flags: execFlags,
  minArgs: 2,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: false,
  completes: "container",
  load: async () => (await import("../verbs/exec.ts")).exec,
});

export const exportFlags = {
  output: one("string", asText, "Write to a file", { short: "o", completes: "file" }),
};

export const exportVerb = command({
  name: "export",
  aliases: ["container export"],
  summary: "Write a container's root file system as a tar archive",
  usage: "[OPTIONS] CONTAINER",
  group: "image",
  flags: exportFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/export.ts")).exportContainer,
});

export const versionFlags = {
  format: one("string", asText, "json, or a template", { short: "f" }),
};

export const version = command({
  name: "version",
  summary: "Show the version",
  usage: "[OPTIONS]",
  group: "other",
  flags: versionFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/version.ts")).version,
});

export const infoFlags = { format: one("string", asText, "json, or a template", { short: "f" }) };

export const info = command({
  name: "info",
  aliases: ["system info"],
  summary: "Show this machine and where things are kept",
  usage: "[OPTIONS]",
  group: "other",
  flags: infoFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/host.ts")).info,
});

export const doctorFlags = {
  format: choice(["table", "json"], "table or json", { fallback: "table" }),
};

export const doctor = command({
  name: "doctor",
  summary: "Show what this machine can do, and the cure for what it cannot",
  usage: "[OPTIONS]",
  group: "other",
  flags: doctorFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/doctor.ts")).doctor,
});

export const completion = command({
  name: "completion",
  summary: "Print the completion script for a shell",
  usage: "bash|zsh|fish",
  group: "other",
  flags: {},
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: ["bash", "zsh", "fish"],
  notes: [
    "bash: manyworlds completion bash > /etc/bash_completion.d/manyworlds",
    "zsh:  manyworlds completion zsh > _manyworlds, in a directory of fpath",
    "fish: manyworlds completion fish > ~/.config/fish/completions/manyworlds.fish",
  ],
  load: async () => (await import("../verbs/completion.ts")).completion,
});

export const complete = command({
  name: "__complete",
  summary: "Print what may stand at the end of a command line (for completion scripts)",
  usage: "[WORD...]",
  group: "hidden",
  flags: {},
  minArgs: 0,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: false,
  load: async () => (await import("../verbs/complete.ts")).complete,
});

export const man = command({
  name: "__man",
  summary: "Print the manual page, in mdoc",
  usage: "",
  group: "hidden",
  flags: {},
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/man.ts")).man,
});

/** `oci` never gets here: main.ts hands its whole command line to the runtime. For the help only. */
export const oci = command({
  name: "oci",
  summary: "Be an OCI runtime, with runc's command line",
  usage: "VERB ...",
  group: "common",
  flags: {},
  minArgs: 0,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: false,
  load: async () => (await import("../verbs/oci.ts")).oci,
});
