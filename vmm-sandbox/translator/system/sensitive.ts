/**
 * x86's sensitive but unprivileged instructions: those that show or change the machine's state and
 * do not trap in user mode, which is why the processor could not be virtualised by trapping alone
 * (Popek and Goldberg 1974; Robin and Irvine 2000, "Analysis of the Intel Pentium's Ability to
 * Support a Secure Virtual Machine Monitor"). A translator sees them all.
 */
import type { Handling } from "../../machine/cpu-report.ts";

export const sensitiveKinds = [
  "SGDT",
  "SIDT",
  "SLDT",
  "SMSW",
  "PUSHF",
  "POPF",
  "LAR",
  "LSL",
  "VERR",
  "VERW",
  "STR",
  "segment load",
  "far transfer",
  "INT n",
] as const;
export type SensitiveKind = (typeof sensitiveKinds)[number];

const byMnemonic: Readonly<Record<string, SensitiveKind>> = {
  sgdt: "SGDT",
  sidt: "SIDT",
  sldt: "SLDT",
  smsw: "SMSW",
  pushf: "PUSHF",
  popf: "POPF",
  lar: "LAR",
  lsl: "LSL",
  verr: "VERR",
  verw: "VERW",
  str: "STR",
  movtoseg: "segment load",
  popseg: "segment load",
  lfar: "segment load",
  jmpfar: "far transfer",
  jmpptr: "far transfer",
  callfar: "far transfer",
  callptr: "far transfer",
  retfar: "far transfer",
  iret: "far transfer",
  int: "INT n",
  int3: "INT n",
  into: "INT n",
};

export function sensitiveKind(mnemonic: string): SensitiveKind | undefined {
  return byMnemonic[mnemonic];
}

export const handlingOf = (kind: SensitiveKind): Handling =>
  kind === "PUSHF" || kind === "POPF" ? "emitted" : "helper";
