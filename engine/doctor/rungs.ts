/** The isolation rungs: which this machine offers, and which would be chosen. */
import { closeSync, openSync } from "node:fs";
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
  readonly reason: string;
}

/** The ladder of design.md, strongest isolation last. */
export function listRungs(findings: readonly Finding[]): readonly Rung[] {
  const blocking = ["kernel", "namespaces", "overlayfs", "state root"].flatMap((name) =>
    findings.filter((each) => each.name === name && each.usable === "no"),
  );
  const [first] = blocking;
  return [
    {
      name: "container",
      usable: first === undefined,
      reason: first === undefined ? "chosen by --isolation auto" : `${first.name}: ${first.cause}`,
    },
    { name: "vm on kvm", usable: false, reason: "not built into this release yet" },
    { name: "vm on the software CPU", usable: false, reason: "not built into this release yet" },
  ];
}
