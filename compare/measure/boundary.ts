/** What stands between a process in a world and the host's kernel, asked of that kernel. */
import { readlinkSync } from "node:fs";
import { capabilitiesOfMask } from "../../engine/index.ts";
import { decodeInstructions, encodeSeccompData, runFilter } from "../../linux/bpf-machine.ts";
import { type BpfInstruction, syscall, syscallsX86_64 } from "../../linux/index.ts";
import type { Boundary } from "../result.ts";
import { read } from "./processes.ts";

// ptrace(2)
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const PTRACE_DETACH = 17;
const PTRACE_SECCOMP_GET_FILTER = 0x420c;
const WALL = 0x4000_0000;

const AUDIT_ARCH_X86_64 = 0xc000_003e;
const MAX_FILTERS = 64;
const MAX_INSTRUCTIONS = 4096;

// seccomp(2): the lowest of the filters' answers counts, as a signed number
const SECCOMP_RET_LOG = 0x7ffc_0000;
const SECCOMP_RET_ACTION_FULL = 0xffff_0000;

const namespaces = ["mnt", "pid", "user", "net", "ipc", "uts", "cgroup", "time"];

/** @param pid the process in the world, or the monitor behind which it has a kernel of its own */
export function boundaryOf(
  pid: number,
  kernel: Boundary["kernel"],
  kernelRelease: string | undefined,
): Boundary {
  const status = read(pid, "status");
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)?.[1] ?? "";
  const modes = ["none", "strict", "filter"] as const;
  const seccomp = modes[Number(field("Seccomp"))] ?? "none";
  return {
    kernel,
    ...(kernelRelease !== undefined && { kernelRelease }),
    capabilities: capabilitiesOfMask(BigInt(`0x${field("CapEff") || "0"}`)),
    hostUser: field("Uid") === "" ? undefined : Number(field("Uid")),
    noNewPrivileges: field("NoNewPrivs") === "1",
    seccomp,
    reachableSyscalls: seccomp === "none" ? knownSyscalls : countReachable(pid),
    knownSyscalls,
    namespaces: namespaces.filter((name) => differs(pid, name)),
  };
}

const knownSyscalls = Object.keys(syscallsX86_64).length;

function differs(pid: number, name: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/${name}`) !== readlinkSync(`/proc/self/ns/${name}`);
  } catch {
    return false;
  }
}

/** Calls that all filters let through when their arguments are zero. */
function countReachable(pid: number): number | undefined {
  const filters = readFilters(pid);
  if (filters === undefined) return undefined;
  return Object.values(syscallsX86_64).filter((nr) => {
    const data = encodeSeccompData({ nr, arch: AUDIT_ARCH_X86_64, args: [] });
    return filters.every((filter) => {
      const action = (runFilter(filter, data) & SECCOMP_RET_ACTION_FULL) >>> 0;
      return action >= SECCOMP_RET_LOG && action < 0x8000_0000;
    });
  }).length;
}

/** Needs CAP_SYS_ADMIN; undefined without it. The process stops for a moment. */
function readFilters(pid: number): readonly (readonly BpfInstruction[])[] | undefined {
  if (syscall("ptrace", PTRACE_SEIZE, pid, 0, 0) < 0) return undefined;
  try {
    syscall("ptrace", PTRACE_INTERRUPT, pid, 0, 0);
    syscall("wait4", pid, 0, WALL, 0);
    const filters: (readonly BpfInstruction[])[] = [];
    for (let index = 0; index < MAX_FILTERS; index++) {
      const bytes = new Uint8Array(MAX_INSTRUCTIONS * 8);
      const count = syscall("ptrace", PTRACE_SECCOMP_GET_FILTER, pid, index, bytes);
      if (count < 0) break;
      filters.push(decodeInstructions(bytes.subarray(0, count * 8)));
    }
    return filters.length === 0 ? undefined : filters;
  } finally {
    syscall("ptrace", PTRACE_DETACH, pid, 0, 0);
  }
}
