/** Verbs on virtual machines that are no containers. */
import { asText, choice, command, list, one, optional } from "../command.ts";
import { parseBytes, parseCpus } from "../values/scalar.ts";

// biome-ignore format: table
export const vmRunFlags = {
  "cmdline": one("string", asText, "Command line of the kernel", { fallback: "console=ttyS0 panic=-1 reboot=k" }),
  "cpu": choice(["auto", "kvm", "software"], "Which CPU it uses", { fallback: "auto" }),
  "cpu-stats": optional("file", asText, "Say at the end what the software CPU did; as JSON too, to a file", { bare: "", completes: "file" }),
  "cpus": one("decimal", parseCpus, "Number of CPUs; the software CPU is one", { fallback: "1" }),
  "disk": list("file", asText, "A file as disk, /dev/vda and on; FILE:ro is read-only", { completes: "file" }),
  "initrd": one("file", asText, "Initial RAM disk", { completes: "file" }),
  "kernel": one("file", asText, "The kernel: a bzImage or a vmlinux", { completes: "file" }),
  "memory": one("bytes", parseBytes, "Memory of the machine", { short: "m", fallback: "256m" }),
} as const;

export const vmRun = command({
  name: "vm run",
  summary: "Boot a kernel, its serial console on this terminal",
  usage: "[OPTIONS] --kernel FILE",
  group: "other",
  flags: vmRunFlags,
  minArgs: 0,
  maxArgs: 0,
  interspersed: true,
  notes: ["ctrl-] ends the machine. Exit status: 0 after power-off, 1 after a crash."],
  load: async () => (await import("../verbs/vm-run.ts")).vmRun,
});

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
