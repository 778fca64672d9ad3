/** Runs one command in a Debian guest under QEMU, and brings its output and exit status back. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DebianGuest } from "./build.ts";
import { type GuestSockets, interrogateGuest, watchedConsole } from "./watchdog.ts";

export interface GuestCommand {
  /** One line of shell; /project is the second disk. */
  readonly command: string;
  /** EROFS image that the guest sees, read-only, as /project. */
  readonly project: string;
  readonly memoryMiB: number;
  /**
   * More than one may hang a kernel that patches its own code, as each KVM_CREATE_VM does (QEMU
   * before 8.1, docs/decisions/101).
   */
  readonly cpus: number;
  readonly timeoutMs: number;
  /** A command that prints nothing for so long hangs. */
  readonly silenceMs?: number;
  /** Kernel parameters besides those that start the command. */
  readonly parameters?: readonly string[];
  /** Sees each line of output first, and says whether it is not to be shown. */
  readonly onLine?: (line: string) => boolean;
}

/** The guest ended, or hung, without the command's exit status. */
export class GuestRunError extends Error {
  override readonly name = "GuestRunError";
}

const exitMark = "manyworlds-guest-exit:";
/** Where everything that a hanging guest says goes. */
const hangReport = ".cache/debian-guest/hang.txt";
const tailLines = 40;

/**
 * The command's output goes to our standard output as it comes. Resolves with its exit status;
 * rejects with GuestRunError and the end of its console. A guest that hangs is asked where first.
 */
export async function runInDebianGuest(guest: DebianGuest, job: GuestCommand): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-guest-"));
  const sockets = { monitor: join(folder, "monitor"), console: join(folder, "console") };
  const log = join(folder, "log");
  try {
    const qemu = spawn("qemu-system-x86_64", machine(guest, job, watchedConsole(sockets, log)), {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise<void>((resolve) => qemu.once("close", () => resolve()));
    const hang = new Hang(job);
    const status = relayOutput(qemu.stdout, () => hang.postpone(), job.onLine);
    const why = await Promise.race([hang.noticed, status.then(() => undefined)]);
    hang.cancel();
    const answer = why === undefined ? undefined : await askHangingGuest(sockets);
    if (answer !== undefined) qemu.kill("SIGKILL");
    await ended;
    return (await status) ?? explainEnd(why, log, answer);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Notices a command that takes too long as a whole, or says nothing for too long. */
class Hang {
  readonly noticed: Promise<string>;
  readonly #silenceMs: number;
  readonly #whole: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;
  #notice: (why: string) => void = () => undefined;

  constructor({ timeoutMs, silenceMs }: GuestCommand) {
    this.noticed = new Promise((resolve) => {
      this.#notice = resolve;
    });
    this.#silenceMs = silenceMs ?? timeoutMs;
    this.#whole = setTimeout(() => this.#notice(`took ${timeoutMs / 1000} s`), timeoutMs);
    this.postpone();
  }

  postpone(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(
      () => this.#notice(`was silent for ${this.#silenceMs / 1000} s`),
      this.#silenceMs,
    );
  }

  cancel(): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#whole);
  }
}

async function askHangingGuest(sockets: GuestSockets): Promise<string> {
  try {
    return await interrogateGuest(sockets);
  } catch (error) {
    return `QEMU does not answer: ${error}`;
  }
}

function explainEnd(why: string | undefined, log: string, answer: string | undefined): never {
  const console = readFileSync(log, "utf8");
  const tail = console.split("\n").slice(-tailLines).join("\n");
  if (why === undefined)
    throw new GuestRunError(
      `The guest ended without the command's exit status; its console says:\n${tail}`,
    );
  writeFileSync(hangReport, `${console}\n\n${answer ?? ""}`);
  throw new GuestRunError(
    `The guest's command ${why}; where it hangs is in "${hangReport}", its console ends:\n${tail}`,
  );
}

function machine(
  guest: DebianGuest,
  job: GuestCommand,
  console: readonly string[],
): readonly string[] {
  const disk = (path: string) => ["-drive", `file=${path},format=raw,if=virtio,readonly=on`];
  const script = `/bin/sh -c '(${job.command}) >/dev/ttyS1 2>&1; echo ${exitMark} $? >/dev/ttyS1'`;
  const parameters = [
    "console=ttyS0",
    "no_timer_check", // ticks come late where the host is busy
    "sysrq_always_enabled",
    "systemd.show_status=0",
    "mitigations=off",
    "panic=-1",
    `systemd.run="${script.replaceAll('"', '\\"')}"`,
    "systemd.run_success_action=poweroff-force",
    "systemd.run_failure_action=poweroff-force",
    ...(job.parameters ?? []),
  ];
  return [
    // Linux idles by MWAIT where there is one, which QEMU emulates by spinning.
    ...["-accel", "tcg,thread=multi", "-cpu", "max,-monitor", "-smp", `${job.cpus}`],
    ...["-m", `${job.memoryMiB}`, "-display", "none", "-nodefaults", "-no-reboot"],
    ...["-kernel", guest.kernel, "-initrd", guest.initramfs, "-append", parameters.join(" ")],
    ...disk(guest.root),
    ...disk(job.project),
    ...console,
    ...["-serial", "stdio"],
    ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
  ];
}

async function relayOutput(
  output: NodeJS.ReadableStream,
  onOutput: () => void,
  isTaken: (line: string) => boolean = () => false,
): Promise<number | undefined> {
  let rest = "";
  let status: number | undefined;
  output.setEncoding("utf8"); // a character may come in two chunks
  for await (const chunk of output) {
    onOutput();
    const lines = (rest + chunk.toString().replaceAll("\r", "")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines)
      if (line.startsWith(exitMark)) status = Number(line.slice(exitMark.length));
      else if (!isTaken(line)) process.stdout.write(`${line}\n`);
  }
  return status;
}
