/**
 * The software CPU beside QEMU's TCG: the same kernel and initramfs, serial console, no devices.
 * The guest marks the end of each phase in the kernel's log, which both print at once:
 *
 * ```
 * start ─ boot ─► init ─ loop ─► ─ sha256 ─► ─ awk ─► ─ fork ─► reset
 * ```
 *
 * Every phase is a report of its own. CPU time is the whole process's, compiler threads included.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { bunExecutable } from "../scripts/bun.ts";
import { debianKernel } from "../scripts/debian-kernel.ts";
import { encodeInitramfs } from "../vmm-sandbox/index.ts";
import { makeFolder } from "./folder.ts";
import type { Samples } from "./measure.ts";
import { type Bench, type BenchOptions, type Goal, type Report, roundsOf } from "./report.ts";

export const bench: Bench = { name: "cpu-boot", title: "Software CPU beside QEMU TCG", run };

const root = fileURLToPath(new URL("..", import.meta.url));
const qemu = "/usr/bin/qemu-system-x86_64";
/** The small one is built by `npm run guest:kernel`, which takes minutes; Debian's is fetched here. */
const kernels: readonly (readonly [name: string, find: () => string])[] = [
  [
    "small kernel",
    () => process.env["GUEST_BZIMAGE"] ?? `${root}.cache/guest-kernel/current/bzImage`,
  ],
  [
    "Debian's cloud kernel",
    () => process.env["GUEST_DEBIAN_VMLINUZ"] ?? `${debianKernel()}/vmlinuz`,
  ],
];
const commandLine = "console=ttyS0 quiet panic=-1 reboot=t mitigations=off";
const memoryMiB = 256;
/** A guest that marks nothing for so long has failed, and one that runs for so many times that. */
const silenceMs = 120_000;
const maxSilences = 10;
const clockTickMs = 10;

/** What the guest does after booting; goals are ours ÷ QEMU's. */
const phases = [
  {
    name: "loop",
    does: "a shell counts to 100 000",
    goal: 2,
    script: "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done",
  },
  {
    name: "sha256",
    does: "sha256sum of 64 MiB",
    goal: 2,
    script: "$b dd if=/dev/zero bs=1M count=64 2>/dev/null | $b sha256sum",
  },
  {
    name: "awk",
    does: "awk computes 300 000 remainders",
    goal: 2,
    script: "$b awk 'BEGIN { for (i = 0; i < 300000; i++) x = (x * 31 + i) % 65521; print x }'",
  },
  {
    name: "fork",
    does: "200 processes of busybox true",
    goal: 3,
    script: "i=0; while [ $i -lt 200 ]; do i=$((i+1)); $b true; done",
  },
] as const;

const mark = (name: string): string => `echo "<1>MARK ${name}" >/dev/kmsg`;

function initramfs(busybox: string): Uint8Array {
  const lines = phases.flatMap(({ name, script }) => [script, mark(name)]);
  const init = ["#!/bin/busybox sh", mark("boot"), "b=/bin/busybox", ...lines, "$b reboot -f", ""];
  return encodeInitramfs([
    { path: "bin", type: "directory" },
    { path: "dev", type: "directory" },
    { path: "dev/console", type: "character", major: 5, minor: 1 },
    { path: "dev/kmsg", type: "character", major: 1, minor: 11 },
    { path: "dev/null", type: "character", major: 1, minor: 3 },
    { path: "dev/zero", type: "character", major: 1, minor: 5 },
    { path: "bin/busybox", type: "file", data: readFileSync(busybox), mode: 0o755 },
    { path: "init", type: "file", data: Buffer.from(init.join("\n")), mode: 0o755 },
  ]);
}

type Machine = { readonly name: string; readonly command: readonly string[] };

async function machines(
  kernel: string,
  initrd: string,
  folder: string,
): Promise<readonly Machine[]> {
  await build({
    absWorkingDir: root,
    entryPoints: {
      "boot-linux": "test/vmm-sandbox/translator/boot-linux.ts",
      "region-worker": "vmm-sandbox/translator/region/region-worker.ts",
    },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    outdir: folder,
    logLevel: "warning",
  });
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const outfile = join(folder, "boot-linux.js");
  const ours = [outfile, kernel, initrd, commandLine, String(memoryMiB)];
  const options =
    "-M microvm,acpi=off,isa-serial=on -accel tcg -cpu max -nodefaults -no-user-config -display none -serial stdio -no-reboot";
  const peer = [
    ...[...options.split(" "), "-m", String(memoryMiB)],
    ...["-kernel", kernel, "-initrd", initrd, "-append", commandLine],
  ];
  return [
    { name: "QEMU TCG", command: [qemu, ...peer] },
    { name: "ours, Node", command: [process.execPath, ...ours] },
    { name: "ours, Bun", command: [bunExecutable(), ...ours] },
  ];
}

type PhaseTime = { readonly ms: number; readonly cpuMs: number };

/** Times between marks, by phase. */
async function boot({ name, command }: Machine): Promise<ReadonlyMap<string, PhaseTime>> {
  const [file = "", ...args] = command;
  const times = new Map<string, PhaseTime>();
  const before = { at: performance.now(), cpuMs: 0 };
  const child = spawn(file, args, {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, SECONDS_LIMIT: String((silenceMs * maxSilences) / 1000) },
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), silenceMs);
  let said = "";
  child.stdout.setEncoding("latin1");
  child.stdout.on("data", (text: string) => {
    said += text;
    for (const found of said.matchAll(/MARK (\w+)\r?\n/g)) {
      const phase = found[1] ?? "";
      if (times.has(phase)) continue;
      timer.refresh();
      const now = { at: performance.now(), cpuMs: cpuOf(child.pid ?? 0) };
      times.set(phase, { ms: now.at - before.at, cpuMs: now.cpuMs - before.cpuMs });
      Object.assign(before, now);
    }
  });
  await new Promise((resolve, reject) => {
    child.once("close", resolve);
    child.once("error", reject);
  });
  clearTimeout(timer);
  if (times.size !== phases.length + 1)
    throw new Error(
      `Cannot time ${name}: expected ${phases.length + 1} marks, saw ${times.size}; the console said ${JSON.stringify(said.slice(-400))}`,
    );
  return times;
}

/** proc(5): utime and stime are the 14th and 15th fields; the 2nd may hold spaces. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * clockTickMs;
}

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const missing = [qemu, "/bin/busybox"].filter((file) => !existsSync(file));
  if (missing.length > 0) throw new Error(`Cannot compare: expected ${missing.join(" and ")}`);
  const folder = makeFolder("cpu-boot");
  try {
    const initrd = join(folder, "initramfs");
    writeFileSync(initrd, initramfs("/bin/busybox"));
    const reports: Report[] = [];
    for (const [kernel, find] of kernels) {
      const file = locate(kernel, find);
      if (file) reports.push(...(await compare(kernel, file, initrd, folder, options)));
    }
    if (reports.length === 0) throw new Error('Cannot find a kernel: run "npm run guest:kernel"');
    return reports;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Without one kernel the other is still compared. */
function locate(kernel: string, find: () => string): string | undefined {
  try {
    const file = find();
    if (existsSync(file)) return file;
    console.log(`${kernel} left out: no ${file}`);
  } catch (error) {
    console.log(`${kernel} left out: ${error instanceof Error ? error.message : error}`);
  }
  return undefined;
}

async function compare(
  kernel: string,
  file: string,
  initrd: string,
  folder: string,
  options: BenchOptions,
): Promise<readonly Report[]> {
  const rounds = roundsOf(8, options);
  const all = await machines(file, initrd, folder);
  const samples = new Map<string, { name: string; ms: number[]; cpuMs: number[] }[]>();
  for (const name of ["boot", ...phases.map((phase) => phase.name)])
    samples.set(
      name,
      all.map((machine) => ({ name: machine.name, ms: [], cpuMs: [] })),
    );
  for (let round = 0; round < rounds; round++)
    for (let turn = 0; turn < all.length; turn++) {
      const index = (round + turn) % all.length;
      for (const [phase, { ms, cpuMs }] of await boot(all[index] as Machine)) {
        const into = samples.get(phase)?.[index];
        into?.ms.push(ms);
        into?.cpuMs.push(cpuMs);
      }
    }
  const bootGoal = kernel === "small kernel" ? 3 : 4;
  const titles = [{ name: "boot", does: "from start to init", goal: bootGoal }, ...phases];
  return titles.map(({ name, does, goal }) => {
    const measured = { samples: samples.get(name) as readonly Samples[], left: [] };
    const goals: Goal[] = ["ours, Node", "ours, Bun"].map((ours) => ({
      ours,
      peer: "QEMU TCG",
      atMost: goal,
    }));
    return { title: `${kernel}: ${name}, ${does}`, rounds, measured, goals };
  });
}
