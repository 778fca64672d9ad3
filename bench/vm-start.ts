/**
 * From starting a monitor to the first instruction of a program in its guest: ours beside QEMU's
 * microvm, same kernel, same first root, both on KVM, in a Debian guest whose processor is emulated.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spreadOf } from "../compare/index.ts";
import { encodeElf } from "../linux/index.ts";
import { executableFlags, workerEntries } from "../scripts/build.ts";
import { bunExecutable } from "../scripts/bun.ts";
import { encodeInitramfs } from "../vmm-sandbox/index.ts";
import { guestKernels, runNested } from "./nested-guest.ts";
import { type Bench, type BenchOptions, formatMs, type Report, roundsOf } from "./report.ts";
import { FIRST_WORDS, type Start, startMark } from "./vm-start/protocol.ts";

export const bench: Bench = { name: "vm-start", title: "Start of a virtual machine on KVM", run };

/** What each phase of our start begins with, in order; the end of one is the start of the next. */
const phaseNames = { monitor: "monitor start", "set-up": "KVM set-up", agent: "kernel and agent" };

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const rounds = roundsOf(12, options);
  const starts: Start[] = [];
  const inside = ["inside.ts", rounds, "./ours", "--", "vmlinux", "initrd", "program"];
  await runNested({
    stage,
    command: `./bun bench/vm-start/${inside.join(" ")}`,
    mark: startMark,
    // SAFE: inside.ts writes it.
    onResult: (text) => void starts.push(JSON.parse(text) as Start),
  });
  return [describeTime(starts, rounds), describeMemory(starts, rounds)];
}

/** All is made here: the guest's processor is a slow one. */
function stage(folder: string): void {
  for (const part of ["package.json", "bench/vm-start"])
    cpSync(part, join(folder, part), { recursive: true });
  copyFileSync(join(guestKernels, "vmlinux"), join(folder, "vmlinux"));
  copyFileSync(bunExecutable(), join(folder, "bun"));
  compileOurs(join(folder, "ours"));
  const program = encodeElf({
    rows: [
      { call: "write", args: [1, `${FIRST_WORDS}\n`, FIRST_WORDS.length + 1] },
      { call: "pause", args: [] },
      { end: 0 },
    ],
  });
  writeFileSync(join(folder, "program"), program, { mode: 0o755 });
  writeFileSync(
    join(folder, "initrd"),
    encodeInitramfs([
      { path: "dev", type: "directory" },
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "init", type: "file", mode: 0o755, data: program },
    ]),
  );
}

/** As npm run build makes the executable, with the monitor as its only verb. */
function compileOurs(outfile: string): void {
  const workers = workerEntries().filter((file) => file.startsWith("vmm-sandbox/"));
  const args = ["build", ...executableFlags, "bench/vm-start/ours.ts", ...workers];
  const result = spawnSync(bunExecutable(), [...args, "--outfile", outfile], { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`Cannot compile our monitor: ${result.stderr}`);
}

/** What is compared: a reader must be able to say whether it is fair. */
const whatEachDoes = [
  "all: the same vmlinux and kernel parameters, 256 MiB, one vCPU, until words of the same program have come out",
  "manyworlds, qemu microvm: the program is /init and writes to the virtio console; nothing is confined",
  "qemu microvm, -sandbox on: as before, with QEMU's own seccomp filter",
  "manyworlds, confined, by its agent: two processes, the second one in namespaces, an empty root, without capabilities, with a seccomp filter; in the guest an agent dials by vsock, and starts the program in a process with three streams",
  "manyworlds, confined, warm: the same from the snapshot that a first start has left, as every later `run` goes",
];

const bars = [
  { ours: "manyworlds", peer: "qemu microvm", atMost: 1 },
  { ours: "manyworlds, confined, by its agent", peer: "qemu microvm", atMost: 1 },
];
/** design.md, "What counts as fast". */
const warmBar = { ours: "manyworlds, confined, warm", peer: "qemu microvm", atMost: 0.25 };

function describeTime(starts: readonly Start[], rounds: number): Report {
  return {
    title: "Start to the first instruction of a program in the guest",
    rounds,
    measured: {
      samples: byName(starts).map(({ name, of }) => ({ name, ms: of.map(({ ms }) => ms) })),
      left: [],
    },
    goals: [...bars, warmBar],
    notes: [...whatEachDoes, ...byName(starts).flatMap(({ name, of }) => phasesOf(name, of))],
  };
}

function describeMemory(starts: readonly Start[], rounds: number): Report {
  const middle = (of: readonly Start[], part: keyof Start["memory"]) =>
    Math.round(spreadOf(of.map(({ memory }) => memory[part])).median / 1024);
  const samples = byName(starts).map(({ name, of }) => ({
    name,
    ms: of.map(({ memory: { guestKiB, ownKiB } }) => (guestKiB + ownKiB) / 1024),
  }));
  return {
    title: "Memory at that moment, of the monitor and of what its guest has touched",
    rounds,
    unit: "MiB",
    measured: { samples, left: [] },
    goals: bars,
    notes: byName(starts).map(
      ({ name, of }) =>
        `${name}: ${middle(of, "guestKiB")} MiB of it are the guest's, ${middle(of, "ownKiB")} the monitor's`,
    ),
  };
}

function byName(starts: readonly Start[]) {
  const names = [...new Set(starts.map(({ name }) => name))];
  return names.map((name) => ({ name, of: starts.filter((start) => start.name === name) }));
}

function phasesOf(name: string, starts: readonly Start[]): readonly string[] {
  const known = Object.keys(starts[0]?.phases ?? {});
  if (known.length === 0) return [];
  const at = (phase: string) =>
    spreadOf(starts.map(({ phases }) => phases[phase] ?? Number.NaN)).median;
  const end = spreadOf(starts.map(({ ms }) => ms)).median;
  const lengths = known.map((phase, index) => {
    const from = index === 0 ? 0 : at(known[index - 1] ?? "");
    return `${phaseNames[phase as keyof typeof phaseNames] ?? phase} ${formatMs(at(phase) - from)}`;
  });
  return [`${name}: ${lengths.join(", ")}, the rest ${formatMs(end - at(known.at(-1) ?? ""))}`];
}
