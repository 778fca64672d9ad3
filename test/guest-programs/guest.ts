/**
 * A machine on the software CPU that sees the host's files, read-only, under /host, so that what is
 * installed there runs inside: virtio-fs for the files, the agent for the processes.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  openSoftwareBackend,
  type Sandbox,
  startSandbox,
  VirtioFs,
} from "../../vmm-sandbox/index.ts";

import { busybox, MiB, mountKernelFiles, runShell } from "../vmm-sandbox/nested/guests.ts";
import type { Program } from "./programs.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const sources = fileURLToPath(new URL("sources", import.meta.url));
/** Programs choose by the processor's features; those of the host that a guest lacks are off. */
const tunables = [
  "AVX",
  "AVX2",
  "FMA",
  "FMA4",
  "AVX512F",
  "AVX512VL",
  "BMI1",
  "BMI2",
  "ERMS",
  "MOVBE",
];
/** Where a guest's programs write; its contents are hidden from them. */
const WORK = "/mnt";

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
}

export function whyNoGuest(): string | undefined {
  const missing = [kernelFile, busybox].filter((file) => !existsSync(file));
  if (missing.length === 0) return undefined;
  return `needs ${missing.join(" and ")} (npm run guest:kernel; Debian's busybox-static)`;
}

export function runOnHost({ script }: Program): Outcome {
  const work = mkdtempSync(join(tmpdir(), "programs-"));
  try {
    const { stdout, stderr, status } = spawnSync("/bin/sh", ["-c", script], {
      cwd: work,
      env: environment(work),
      encoding: "utf8",
      maxBuffer: 64 * MiB,
    });
    return { stdout, stderr, status };
  } finally {
    rmSync(work, { recursive: true });
  }
}

export class ProgramGuest implements AsyncDisposable {
  readonly #sandbox: Sandbox;
  readonly #host: VirtioFs;

  private constructor(sandbox: Sandbox, host: VirtioFs) {
    this.#sandbox = sandbox;
    this.#host = host;
  }

  static async boot(memorySizeBytes: number): Promise<ProgramGuest> {
    const host = new VirtioFs("host", { path: "/", readOnly: true });
    const sandbox = await startSandbox({
      backend: await openSoftwareBackend({ memorySizeBytes }),
      kernel: { image: readFileSync(kernelFile), modules: [] },
      files: [{ path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) }],
      devices: [host],
    });
    await mountKernelFiles(sandbox);
    const b = "/busybox";
    const { status, stderr } = await runShell(
      sandbox,
      `set -e; ${b} mkdir /host; ${b} mount -t virtiofs -o ro host /host
      for d in dev proc sys; do ${b} mount --rbind /$d /host/$d; done; ${b} mount -t tmpfs none /host${WORK}`,
    );
    if (status !== 0) throw new Error(`Cannot prepare the guest: ${stderr}`);
    return new ProgramGuest(sandbox, host);
  }

  async run({ script }: Program): Promise<Outcome> {
    const words = Object.entries(environment(WORK)).map(([name, value]) => `${name}=${value}`);
    const quoted = [...words, "/bin/sh", "-c", `cd ${WORK} && rm -rf ./* && ${script}`].map(quote);
    const { stdout, stderr, status } = await runShell(
      this.#sandbox,
      `exec /busybox chroot /host /usr/bin/env -i ${quoted.join(" ")}`,
    );
    return { stdout, stderr, status: (status & 0x7f) === 0 ? status >> 8 : 128 + (status & 0x7f) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sandbox.unplug();
    this.#host[Symbol.dispose]();
  }
}

export const guestMemoryBytes = { few: 384 * MiB, all: 1024 * MiB } as const;

function environment(work: string): Record<string, string> {
  return {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: work,
    TMPDIR: work,
    LC_ALL: "C.UTF-8",
    SOURCES: sources,
    GLIBC_TUNABLES: `glibc.cpu.hwcaps=${tunables.map((name) => `-${name}`).join(",")}`,
  };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
