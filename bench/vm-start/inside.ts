/**
 * The measuring half of the bench vm-start, which runs in the nested guest: starts each monitor in
 * turn, waits for the first words of the program in its guest, looks at its memory, and kills it.
 *
 *   inside.ts ROUNDS OURS… -- KERNEL INITRD PROGRAM      OURS: the command that runs ours.ts
 *
 * One line of JSON for each start goes to standard output.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { setsOf } from "./memory.ts";
import { FIRST_WORDS, GUEST_MEMORY_BYTES, type Start, startMark } from "./protocol.ts";

const COMMAND_LINE =
  "console=hvc0 quiet panic=-1 reboot=k 8250.nr_uarts=0 no_timer_check tsc=reliable random.trust_cpu=on cryptomgr.notests pci=off";
/** All that it refuses. */
const QEMU_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
const TIMEOUT_MS = 60_000;
const TRIES = 4;

await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<void> {
  const separator = args.indexOf("--");
  const [rounds, ...ours] = args.slice(0, separator);
  const [kernel = "", initrd = "", program = ""] = args.slice(separator + 1);
  const candidates: readonly (readonly [string, readonly string[]])[] = [
    ["manyworlds", [...ours, "plain", kernel, initrd, COMMAND_LINE]],
    ["manyworlds, confined, by its agent", [...ours, "agent", kernel, program]],
    ["manyworlds, confined, warm", [...ours, "warm", kernel, program, "/tmp/snapshot"]],
    ["qemu microvm", qemu(kernel, initrd)],
    ["qemu microvm, -sandbox on", [...qemu(kernel, initrd), "-sandbox", QEMU_SANDBOX]],
  ];
  // The first round fills the page cache, and makes the snapshot.
  for (let round = -1; round < Number(rounds); round++)
    for (const [name, command] of candidates) {
      const start = await measureAgain(name, command);
      if (round >= 0) console.log(`${startMark}${JSON.stringify(start)}`);
    }
}

/** As small as it gets: no firmware tables to probe, no legacy devices, virtio console alone. */
function qemu(kernel: string, initrd: string): readonly string[] {
  return [
    "qemu-system-x86_64",
    ...["-M", "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=off"],
    ...[
      "-enable-kvm",
      "-cpu",
      "host",
      "-m",
      `${GUEST_MEMORY_BYTES / 2 ** 20}`,
      "-smp",
      "1",
      "-no-user-config",
      "-nodefaults",
    ],
    ...["-nographic", "-kernel", kernel, "-initrd", initrd, "-append", COMMAND_LINE],
    ...["-device", "virtio-serial-device", "-chardev", "stdio,id=c"],
    ...["-device", "virtconsole,chardev=c", "-monitor", "none"],
  ];
}

/** On a busy machine QEMU's console now and then comes after the guest's first process. */
async function measureAgain(name: string, command: readonly string[]): Promise<Start> {
  for (let tries = 1; ; tries++) {
    try {
      return await measureStart(name, command);
    } catch (error) {
      if (tries === TRIES) throw error;
      console.error(String(error));
    }
  }
}

function measureStart(name: string, [file = "", ...args]: readonly string[]): Promise<Start> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    let start: Start | undefined;
    let family: readonly number[] = [];
    const timer = globalThis.setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    child.stderr.on("data", (bytes) => {
      errors += bytes;
    });
    child.stdout.on("data", (bytes) => {
      output += bytes;
      if (start !== undefined || !output.includes(FIRST_WORDS)) return;
      const ms = performance.now() - began;
      family = familyOf(child.pid ?? 0);
      start = { name, ms, memory: setsOf(family, GUEST_MEMORY_BYTES), phases: {} };
      child.kill("SIGKILL");
    });
    child.on("close", () => {
      clearTimeout(timer);
      if (start === undefined) reject(new Error(`${name} did not start: ${output}${errors}`));
      else {
        const done = { ...start, phases: parsePhases(errors) };
        // A confined monitor ends a little after the one who started it.
        untilGone(family).then(() => resolve(done), reject);
      }
    });
  });
}

/** The process and its children. */
function familyOf(pid: number): readonly number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  return [pid, ...children.map(Number)];
}

async function untilGone(pids: readonly number[]): Promise<void> {
  for (let tries = 0; pids.some((pid) => existsSync(`/proc/${pid}`)); tries++) {
    if (tries === 100) throw new Error(`Processes ${pids.join(", ")} do not end`);
    await setTimeout(50);
  }
}

function parsePhases(text: string): Readonly<Record<string, number>> {
  const phases: Record<string, number> = {};
  for (const [, phase = "", ms] of text.matchAll(/^(\S+) ([\d.]+)$/gm)) phases[phase] = Number(ms);
  return phases;
}
