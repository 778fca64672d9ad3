/** Verbs about containers that run in the background. */
import { asText, command, one, toggle } from "../command.ts";
import { parseSince, parseTail } from "../values/log-range.ts";
import { parseInteger } from "../values/scalar.ts";

// biome-ignore format: table
export const logsFlags = {
  "follow": toggle("Go on with what it writes, until it ends", { short: "f" }),
  "since": one("string", parseSince, "Only what was written since then: a date, or 10m, 2h"),
  "tail": one("string", parseTail, "Only so many of the last lines", { short: "n", fallback: "all" }),
  "timestamps": toggle("Show when each line was written", { short: "t" }),
};

export const logs = command({
  name: "logs",
  aliases: ["container logs"],
  summary: "Show what a container in the background has written",
  usage: "[OPTIONS] CONTAINER",
  group: "common",
  flags: logsFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/detached.ts")).logs,
});

// biome-ignore format: table
export const stopFlags = {
  "signal": one("string", asText, "Signal to send, instead of the container's own", { short: "s" }),
  "time": one("int", parseInteger, "Seconds until it is killed; -1: never", { short: "t", fallback: "10", aliases: ["timeout"] }),
};

export const stop = command({
  name: "stop",
  aliases: ["container stop"],
  summary: "Stop containers: a signal, and some seconds later SIGKILL",
  usage: "[OPTIONS] CONTAINER [CONTAINER...]",
  group: "common",
  flags: stopFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/detached.ts")).stop,
});

export const killFlags = {
  signal: one("string", asText, "Signal to send", { short: "s", fallback: "KILL" }),
};

export const kill = command({
  name: "kill",
  aliases: ["container kill"],
  summary: "Send containers a signal",
  usage: "[OPTIONS] CONTAINER [CONTAINER...]",
  group: "common",
  flags: killFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/detached.ts")).kill,
});

export const waitFlags = {};

export const wait = command({
  name: "wait",
  aliases: ["container wait"],
  summary: "Wait until containers have ended, and print their exit statuses",
  usage: "CONTAINER [CONTAINER...]",
  group: "common",
  flags: waitFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: true,
  completes: "container",
  load: async () => (await import("../verbs/detached.ts")).wait,
});
