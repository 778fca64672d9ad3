/** The verb that measures the rungs side by side. */
import { asText, command, list, one, toggle } from "../command.ts";

export const compareFlags = {
  html: one("file", asText, "Also write a page with plots, all in one file", { completes: "file" }),
  json: toggle("Print everything measured as JSON"),
  quick: toggle("End within a minute: fewer samples"),
  quiet: toggle("No progress on standard error", { short: "q" }),
  rung: list("name", asText, "Only this rung or peer, such as container; may be repeated"),
};

export const compare = command({
  name: "compare",
  summary: "Run an image in every isolation this machine offers, and show what each costs",
  usage: "[OPTIONS] IMAGE [-- COMMAND [ARG...]]",
  group: "common",
  flags: compareFlags,
  minArgs: 1,
  maxArgs: Number.POSITIVE_INFINITY,
  interspersed: true,
  completes: "image",
  notes: [
    "Takes up to ten minutes, with --quick one. Ctrl-C ends it early and shows what has been measured until then.",
    "Exit status: 0 at its end, what could not be measured included with its reason; 130 when it was interrupted; 1 when nothing could be measured.",
  ],
  load: async () => (await import("../verbs/compare.ts")).compare,
});
