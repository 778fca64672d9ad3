/** Runs one command in a Debian guest under QEMU, and brings its output and exit status back. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DebianGuest } from "./build.ts";

export interface GuestCommand {
  /** One line of shell; /project is the second disk. */
  readonly command: string;
  /** EROFS image that the guest sees, read-only, as /project. */
  readonly project: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly timeoutMs: number;
  /** Kernel parameters besides those that start the command. */
  readonly parameters?: readonly string[];
}

const exitMark = "manyworlds-guest-exit:";

/**
 * The command's output goes to our standard output as it comes. Resolves with its exit status;
 * rejects when the guest ended or timed out without one, with the end of its console.
 */
export async function runInDebianGuest(guest: DebianGuest, job: GuestCommand): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-guest-"));
  try {
    const console = join(folder, "console");
    const qemu = spawn("qemu-system-x86_64", machine(guest, job, console), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const timer = setTimeout(() => qemu.kill("SIGKILL"), job.timeoutMs);
    const ended = new Promise<void>((resolve) => qemu.once("close", () => resolve()));
    const status = await relayOutput(qemu.stdout);
    await ended;
    clearTimeout(timer);
    if (status !== undefined) return status;
    const tail = readFileSync(console, "utf8").split("\n").slice(-40).join("\n");
    throw new Error(
      `The guest ended without the command's exit status; its console says:\n${tail}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function machine(guest: DebianGuest, job: GuestCommand, console: string): readonly string[] {
  const disk = (path: string) => ["-drive", `file=${path},format=raw,if=virtio,readonly=on`];
  const script = `/bin/sh -c '(${job.command}) >/dev/ttyS1 2>&1; echo ${exitMark} $? >/dev/ttyS1'`;
  const parameters = [
    "console=ttyS0",
    "systemd.show_status=0",
    "mitigations=off",
    "panic=-1",
    `systemd.run="${script.replaceAll('"', '\\"')}"`,
    "systemd.run_success_action=poweroff-force",
    "systemd.run_failure_action=poweroff-force",
    ...(job.parameters ?? []),
  ];
  return [
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", `${job.cpus}`],
    ...[
      "-m",
      `${job.memoryMiB}`,
      "-display",
      "none",
      "-monitor",
      "none",
      "-nodefaults",
      "-no-reboot",
    ],
    ...["-kernel", guest.kernel, "-initrd", guest.initramfs, "-append", parameters.join(" ")],
    ...disk(guest.root),
    ...disk(job.project),
    ...["-serial", `file:${console}`, "-serial", "stdio"],
    ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
  ];
}

async function relayOutput(output: NodeJS.ReadableStream): Promise<number | undefined> {
  let rest = "";
  let status: number | undefined;
  output.setEncoding("utf8"); // a character may come in two chunks
  for await (const chunk of output) {
    const lines = (rest + chunk.toString().replaceAll("\r", "")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines)
      if (line.startsWith(exitMark)) status = Number(line.slice(exitMark.length));
      else process.stdout.write(`${line}\n`);
  }
  return status;
}
