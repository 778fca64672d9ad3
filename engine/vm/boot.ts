/** Boots any kernel, its serial console on our terminal. */
import { readFileSync } from "node:fs";
import { type CpuBackend, KvmBackend, openSoftwareBackend, Vm } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import { chooseCpu } from "./choose-cpu.ts";
import type { MachineStats } from "./stats.ts";
import { enterRaw } from "./terminal.ts";

export interface BootRequest {
  /** A bzImage or a vmlinux. */
  readonly kernel: string;
  readonly initrd?: string | undefined;
  readonly commandLine?: string | undefined;
  /** Files that become /dev/vda, /dev/vdb…; read-only where the name ends in ":ro". */
  readonly disks: readonly string[];
  readonly memoryBytes?: number | undefined;
  readonly cpus?: number | undefined;
  readonly cpu?: "auto" | "kvm" | "software" | undefined;
  /** Gets what the CPU has counted, when the machine has ended. */
  readonly onStats?: ((stats: MachineStats) => Promise<void> | void) | undefined;
}

/** The first serial port is the console; a crash ends the machine instead of hanging it. */
const COMMAND_LINE = "console=ttyS0 panic=-1 reboot=k";
const MiB = 2 ** 20;
const MEMORY_BYTES = 256 * MiB;
/** Ends the machine from the terminal, whatever the guest does: ctrl-]. */
const ESCAPE = 0x1d;
const RETRY_MS = 5;
const FLUSH_BYTES = 4096;

/** @returns the exit status: 0 after power-off or reset, 1 after a crash, 130 when it was ended */
export async function bootKernel(request: BootRequest): Promise<number> {
  const { cpu, reason: why } = chooseCpu(request.cpu ?? "auto");
  const memorySizeBytes = Math.ceil((request.memoryBytes ?? MEMORY_BYTES) / MiB) * MiB;
  const cpus = Math.max(1, Math.ceil(request.cpus ?? 1));
  if (cpu === "software" && cpus > 1)
    throw new ContainerError(`Cannot give the machine ${cpus} CPUs: the software CPU has one`, {
      hint: "leave --cpus out, or use --cpu kvm",
    });
  const kernel = readInput(request.kernel, "kernel");
  const initrd = request.initrd === undefined ? undefined : readInput(request.initrd, "initrd");
  const output = new SerialOutput();
  const backend: CpuBackend =
    cpu === "kvm"
      ? new KvmBackend({ memorySizeBytes, cpus })
      : await openSoftwareBackend({ memorySizeBytes });
  await using vm = await Vm.create({
    backend,
    kernel,
    ...(initrd !== undefined && { initrd }),
    commandLine: request.commandLine ?? COMMAND_LINE,
    disks: request.disks.map(parseDisk),
    onSerial: (byte) => output.put(byte),
    onConsole: (bytes) => process.stdout.write(bytes),
  });
  using _raw = enterRaw();
  using _input = feedSerial(vm);
  const reason = await vm.run();
  output.flush();
  await request.onStats?.({ cpu, reason: why, report: await vm.stats() });
  if (reason.kind === "crash") {
    process.stderr.write(`\r\n${await vm.describeCrash()}\n`);
    return 1;
  }
  return reason.kind === "stopped" ? 130 : 0;
}

function readInput(path: string, what: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ContainerError(`Cannot read the ${what} "${path}"`, { cause });
  }
}

function parseDisk(text: string): { readonly path: string; readonly readOnly: boolean } {
  const readOnly = text.endsWith(":ro");
  return { path: readOnly ? text.slice(0, -":ro".length) : text, readOnly };
}

/** A guest writes single bytes; a terminal wants them by the line. */
class SerialOutput {
  #bytes: number[] = [];
  #timer: NodeJS.Immediate | undefined;

  put(byte: number): void {
    this.#bytes.push(byte);
    if (this.#bytes.length >= FLUSH_BYTES) this.flush();
    else this.#timer ??= setImmediate(() => this.flush());
  }

  flush(): void {
    clearImmediate(this.#timer);
    this.#timer = undefined;
    if (this.#bytes.length > 0) process.stdout.write(Uint8Array.from(this.#bytes));
    this.#bytes = [];
  }
}

/** What is typed waits until the port has room for it. */
function feedSerial(vm: Vm): Disposable {
  let waiting: Uint8Array = new Uint8Array(0);
  let timer: NodeJS.Timeout | undefined;
  const push = (): void => {
    timer = undefined;
    waiting = waiting.subarray(vm.serialInput(waiting));
    if (waiting.length > 0) timer = setTimeout(push, RETRY_MS);
    else process.stdin.resume();
  };
  const onData = (bytes: Uint8Array): void => {
    if (process.stdin.isTTY && bytes.includes(ESCAPE)) vm.machine.stop({ kind: "stopped" });
    process.stdin.pause();
    waiting = Buffer.concat([waiting, bytes]);
    timer ??= setTimeout(push, 0);
  };
  const stop = (): void => vm.machine.stop({ kind: "stopped" });
  process.stdin.on("data", onData);
  for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) process.on(signal, stop);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      process.stdin.off("data", onData);
      process.stdin.pause();
      process.stdin.unref?.();
      for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) process.off(signal, stop);
    },
  };
}
