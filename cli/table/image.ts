/** Verbs about images and registries. */
import { asText, choice, command, list, one, toggle } from "../command.ts";

const format = one("string", asText, "table, json, jsonl, or a template such as '{{.ID}}'", {
  completes: ["table", "json", "jsonl"],
});
const platform = one("string", asText, "Platform of the image, such as linux/arm64");
const progress = choice(["auto", "tty", "plain", "json", "none"], "How to show progress", {
  fallback: "auto",
});
const quiet = toggle("Print only the result", { short: "q" });
const force = toggle("Do not ask", { short: "f" });
const filter = list("filter", asText, "Only what fits, such as dangling=true or label=KEY", {
  short: "f",
});
const noTrunc = toggle("Do not shorten IDs and texts");
const many = Number.POSITIVE_INFINITY;

export const pullFlags = {
  "all-tags": toggle("Download every tag of the repository", { short: "a" }),
  platform,
  progress,
  quiet,
};

export const pull = command({
  name: "pull",
  aliases: ["image pull"],
  summary: "Download an image from a registry",
  usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
  group: "common",
  flags: pullFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/pull.ts")).pull,
});

export const pushFlags = { progress, quiet };

export const push = command({
  name: "push",
  aliases: ["image push"],
  summary: "Upload an image to a registry",
  usage: "[OPTIONS] NAME[:TAG]",
  group: "common",
  flags: pushFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/push.ts")).push,
});

export const imagesFlags = {
  all: toggle("Accepted for docker's sake: every image is always listed", { short: "a" }),
  digests: toggle("Show digests"),
  filter,
  format,
  "no-trunc": noTrunc,
  quiet: toggle("Print only IDs", { short: "q" }),
};

export const images = command({
  name: "images",
  aliases: ["image ls", "image list"],
  summary: "List images",
  usage: "[OPTIONS] [REPOSITORY[:TAG]]",
  group: "image",
  flags: imagesFlags,
  minArgs: 0,
  maxArgs: 1,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/images.ts")).images,
});

export const inspectFlags = {
  format: one("string", asText, "json, or a template such as '{{.Id}}'", { short: "f" }),
  type: choice(["image", "container"], "Only things of this type"),
};

export const inspect = command({
  name: "inspect",
  aliases: ["image inspect"],
  summary: "Show all that is known of images, as JSON",
  usage: "[OPTIONS] NAME|ID [NAME|ID...]",
  group: "image",
  flags: inspectFlags,
  minArgs: 1,
  maxArgs: many,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/inspect.ts")).inspect,
});

export const historyFlags = {
  format,
  human: one("bool", asText, "Sizes and dates for people", { short: "H", fallback: "true" }),
  "no-trunc": noTrunc,
  quiet: toggle("Print only IDs", { short: "q" }),
};

export const history = command({
  name: "history",
  aliases: ["image history"],
  summary: "Show how an image was made, step by step",
  usage: "[OPTIONS] IMAGE",
  group: "image",
  flags: historyFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/history.ts")).history,
});

export const tag = command({
  name: "tag",
  aliases: ["image tag"],
  summary: "Give an image another name",
  usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
  group: "image",
  flags: {},
  minArgs: 2,
  maxArgs: 2,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/tag.ts")).tag,
});

export const rmiFlags = {
  force: toggle("Remove an image that has several names or is in use", { short: "f" }),
};

export const rmi = command({
  name: "rmi",
  aliases: ["image rm", "image remove"],
  summary: "Remove images",
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  group: "image",
  flags: rmiFlags,
  minArgs: 1,
  maxArgs: many,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/rmi.ts")).rmi,
});

export const saveFlags = {
  format: choice(["docker-archive", "oci-archive"], "Format of the archive", {
    fallback: "docker-archive",
  }),
  output: one("string", asText, "Write to a file", { short: "o", completes: "file" }),
};

export const save = command({
  name: "save",
  aliases: ["image save"],
  summary: "Write images to a tar archive, on standard output unless -o is given",
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  group: "image",
  flags: saveFlags,
  minArgs: 1,
  maxArgs: many,
  interspersed: true,
  completes: "image",
  load: async () => (await import("../verbs/save.ts")).save,
});

export const loadFlags = {
  input: one("string", asText, "Read from a file", { short: "i", completes: "file" }),
  quiet,
};

export const load = command({
  name: "load",
  aliases: ["image load"],
  summary: "Read images from a tar archive, from standard input unless -i is given",
  usage: "[OPTIONS]",
  group: "image",
  flags: loadFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/load.ts")).load,
});

export const importFlags = {
  change: list("list", asText, "Set CMD, ENTRYPOINT, ENV, USER, WORKDIR, LABEL … of the image", {
    short: "c",
  }),
  message: one("string", asText, "Note for the image's history", { short: "m" }),
  platform,
};

export const importVerb = command({
  name: "import",
  aliases: ["image import"],
  summary: "Make an image from a tar archive of a root file system",
  usage: "[OPTIONS] FILE|- [REPOSITORY[:TAG]]",
  group: "image",
  flags: importFlags,
  minArgs: 1,
  maxArgs: 2,
  interspersed: true,
  completes: "file",
  load: async () => (await import("../verbs/import.ts")).importImage,
});

export const loginFlags = {
  password: one("string", asText, "Password (others can see it: better --password-stdin)", {
    short: "p",
  }),
  "password-stdin": toggle("Read the password from standard input"),
  username: one("string", asText, "User name", { short: "u" }),
};

export const login = command({
  name: "login",
  summary: "Store a user name and password for a registry",
  usage: "[OPTIONS] [SERVER]",
  group: "common",
  flags: loginFlags,
  minArgs: 0,
  maxArgs: 1,
  interspersed: true,
  load: async () => (await import("../verbs/login.ts")).login,
});

export const logout = command({
  name: "logout",
  summary: "Forget the password of a registry",
  usage: "[SERVER]",
  group: "common",
  flags: {},
  minArgs: 0,
  maxArgs: 1,
  interspersed: true,
  load: async () => (await import("../verbs/logout.ts")).logout,
});

export const imagePruneFlags = {
  all: toggle("Remove every image that no container uses", { short: "a" }),
  force,
};

export const imagePrune = command({
  name: "image prune",
  summary: "Remove images without a name, or with -a those that no container uses",
  usage: "[OPTIONS]",
  group: "hidden",
  flags: imagePruneFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/prune.ts")).imagePrune,
});

export const pruneFlags = {
  all: toggle("Also every image that no container uses", { short: "a" }),
  force,
};

export const prune = command({
  name: "prune",
  aliases: ["system prune"],
  summary: "Remove what nothing refers to: ended containers, layers, unfinished downloads",
  usage: "[OPTIONS]",
  group: "other",
  flags: pruneFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/prune.ts")).prune,
});

export const dfFlags = { format, verbose: toggle("Show each image", { short: "v" }) };

export const df = command({
  name: "df",
  aliases: ["system df"],
  summary: "Show what the disk is used for",
  usage: "[OPTIONS]",
  group: "other",
  flags: dfFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  load: async () => (await import("../verbs/df.ts")).df,
});
