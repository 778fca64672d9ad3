/** Verbs about virtual machines themselves. */
import { asText, command, one } from "../command.ts";

export const vmClassifyFlags = {
  format: one("string", asText, "table, json, jsonl, or a template such as '{{.Count}}'", {
    completes: ["table", "json", "jsonl"],
  }),
};

export const vmClassify = command({
  name: "vm classify",
  summary: "Count the instructions of a program or kernel that hinder virtualisation",
  usage: "[OPTIONS] FILE",
  group: "other",
  flags: vmClassifyFlags,
  minArgs: 1,
  maxArgs: 1,
  interspersed: true,
  completes: "file",
  load: async () => (await import("../verbs/vm-classify.ts")).vmClassify,
});
