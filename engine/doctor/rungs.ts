/** The isolation rungs: which this machine offers, and which would be chosen. */
import { closeSync, openSync } from "node:fs";
import { ContainerError } from "../errors.ts";
import { findGuestKernel } from "../vm/guest-kernel.ts";
import { type Finding, partly, unusable, usable } from "./finding.ts";
import { readText } from "./kernel-checks.ts";

/** /dev/kvm alone proves nothing: without vmx or svm behind it, a guest is interpreted. */
export function checkKvm(): Finding {
  const name = "kvm";
  const flags = /^flags\s*:(.*)$/m.exec(readText("/proc/cpuinfo"))?.[1] ?? "";
  const extension = /\bvmx\b/.test(flags) ? "VT-x" : /\bsvm\b/.test(flags) ? "AMD-V" : undefined;
  const refusal = openRefusal("/dev/kvm");
  if (refusal === "ENOENT") {
    const cause = "/dev/kvm does not exist";
    if (extension === undefined) {
      return unusable(name, cause, "enable virtualization in the firmware, or nested on the host");
    }
    return unusable(
      name,
      cause,
      "modprobe kvm-intel or kvm-amd; in a container: --device /dev/kvm",
    );
  }
  if (refusal !== undefined) {
    const cause = `/dev/kvm cannot be opened (${refusal})`;
    return unusable(
      name,
      cause,
      `usermod --append --groups kvm ${process.env["USER"] ?? "USER"}, and log in again`,
    );
  }
  if (extension === undefined) {
    return partly(
      name,
      "/dev/kvm opens",
      "the CPU shows neither vmx nor svm, so its guests would be interpreted",
      "use a machine with nested virtualization; virtual machines use the software CPU here",
    );
  }
  return usable(name, `/dev/kvm with ${extension}`);
}

/** What a virtual machine boots: looked for as `run` does, without modules. */
export function checkGuestKernel(root: string): Finding {
  const name = "guest kernel";
  try {
    const wish = { env: process.env, root, cpu: "software", modules: [] } as const;
    return usable(name, findGuestKernel(wish).path);
  } catch (error) {
    if (!(error instanceof ContainerError)) throw error;
    return unusable(name, "there is none for virtual machines", error.hint ?? "see --kernel");
  }
}

function openRefusal(path: string): string | undefined {
  try {
    closeSync(openSync(path, "r+"));
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "unknown";
  }
}

export interface Rung {
  readonly name: string;
  readonly usable: boolean;
  /** Why it can or cannot be used. */
  readonly reason: string;
  /** What would choose it here: the flags of `run`. */
  readonly chosenBy: readonly string[];
  /** Why `run` would choose it without being asked for it by name; undefined where it would not. */
  readonly why?: string;
  /** What it costs, in words; `compare` measures it. */
  readonly expected: string;
  readonly cure?: string;
}

const expectations = {
  container: "starts in milliseconds, computes at the machine's speed",
  kvm: "starts in tenths of a second, computes at nearly the machine's speed",
  software:
    "boots in seconds, later starts in one or two; computing takes 2 to 4 times as long, calls into its kernel 20 to 150 times",
} as const;

/** The ladder of design.md: what the names of `run --isolation` and `--cpu` lead to on this machine. */
export function listRungs(findings: readonly Finding[]): readonly Rung[] {
  const container = judge(findings, ["kernel", "namespaces", "overlayfs", "state root"], []);
  const kvm = judge(findings, ["state root", "guest kernel"], ["kvm"]);
  const software = judge(findings, ["state root", "guest kernel"], []);
  const machine = kvm.usable ? "kvm" : "software";
  const chosen = (cpu: "kvm" | "software"): readonly string[] => [
    ...(machine === cpu ? ["--isolation vm"] : []),
    `--cpu ${cpu}`,
  ];
  return [
    {
      name: "container",
      ...container,
      chosenBy: ["--isolation auto", "--isolation container"],
      expected: expectations.container,
      why: "the default where nothing else is asked for",
    },
    {
      name: "vm on kvm",
      ...kvm,
      chosenBy: chosen("kvm"),
      expected: expectations.kvm,
      ...(machine === "kvm" && { why: "a machine takes KVM where there is hardware behind it" }),
    },
    {
      name: "vm on the software CPU",
      ...software,
      chosenBy: chosen("software"),
      expected: expectations.software,
      ...(machine === "software" && {
        why: "a machine takes the software CPU where KVM is missing",
      }),
    },
  ];
}

/** @param strict findings that must be "yes"; of the others "partly" will do */
function judge(
  findings: readonly Finding[],
  needed: readonly string[],
  strict: readonly string[],
): Pick<Rung, "usable" | "reason" | "cure"> {
  const blocking = findings.find(
    ({ name, usable: how }) =>
      (needed.includes(name) && how === "no") || (strict.includes(name) && how !== "yes"),
  );
  if (blocking === undefined) return { usable: true, reason: "usable" };
  const { name, cause = "missing", cure } = blocking;
  return { usable: false, reason: `${name}: ${cause}`, ...(cure !== undefined && { cure }) };
}
