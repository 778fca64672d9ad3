/**
 * Which machine a snapshot is of. Everything that the guest could have seen before its agent dialled
 * goes in: another kernel, device or version of ours means another key.
 *
 * Files are known by what stat(2) says of them, since hashing a kernel costs more than a restored
 * machine's whole start; within one boot of the host, whoever changes a file changes that.
 */
import { createHash } from "node:crypto";
import { type BigIntStats, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CpuKind } from "./choose-cpu.ts";
import type { KernelFiles } from "./guest-kernel.ts";

export interface SnapshotFacts {
  readonly cpu: CpuKind;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: KernelFiles;
  readonly commandLine: string;
  readonly disks: readonly { readonly readOnly: boolean }[];
  /** Tags of the shared directories, in order. */
  readonly shares: readonly string[];
  /** MAC addresses and MTUs of the network devices, in order. */
  readonly nets: readonly string[];
}

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/** This boot of the host: its page cache, its clock, its processor. Undefined where nobody says. */
export function bootId(): string | undefined {
  try {
    return readFileSync(BOOT_ID, "utf8").trim();
  } catch {
    return undefined;
  }
}

export function snapshotKey(facts: SnapshotFacts, boot: string): Buffer {
  const { kernel, ...rest } = facts;
  const files = [kernel.path, ...kernel.modules.map(({ path }) => path)].map(identify);
  const build = buildFiles().map(identify);
  const engine = "Bun" in globalThis ? "bun" : "node";
  return createHash("sha256")
    .update(JSON.stringify({ ...rest, boot, engine, files, build }))
    .digest();
}

function identify(path: string): readonly string[] {
  const stat: BigIntStats = statSync(path, { bigint: true });
  const { dev, ino, size, mtimeNs, ctimeNs } = stat;
  return [path, ...[dev, ino, size, mtimeNs, ctimeNs].map(String)];
}

/** What makes this version: the executable, the library's files, or the sources. */
function buildFiles(): readonly string[] {
  const here = import.meta.url;
  if (here.includes("/$bunfs/")) return [process.execPath];
  const folder = dirname(fileURLToPath(here));
  if (!here.endsWith(".ts")) return readdirSync(folder).map((name) => join(folder, name));
  const source = join(folder, "../../vmm-sandbox");
  return readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(source, name));
}
