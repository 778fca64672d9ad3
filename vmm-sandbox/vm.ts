/**
 * A whole virtual machine: a CPU backend, a board, devices, a booted kernel, and how it ended.
 *
 * ```
 * device thread (this one): buses, virtio devices, host side of everything
 * vCPU threads: the backend's; they come here only for device registers
 * ```
 */
import { type AcpiMachine, planBoot, writeBoot } from "./boot/index.ts";
import { formatCrash } from "./crash-report.ts";
import {
  Balloon,
  Block,
  Console,
  Entropy,
  FileBackend,
  GenerationId,
  KeyboardController,
  mmioRegisters,
  PowerPorts,
  Serial,
  type SerialState,
  type TransportState,
  type VirtioDevice,
  VirtioMmio,
} from "./devices/index.ts";
import {
  ACPI_PORT,
  BOOT,
  COM1_GSI,
  COM1_PORT,
  type CpuBackend,
  type CpuReport,
  type CpuState,
  I8042_PORT,
  IO_APIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
  Machine,
  type StopReason,
  VIRTIO_MMIO_BASE,
  VIRTIO_MMIO_WINDOW,
  type VmExit,
} from "./machine/index.ts";

export interface Disk {
  /** A path, or an open descriptor, which the machine then owns. */
  readonly path: string | number;
  readonly readOnly: boolean;
}

/** What a machine is made of, whether it boots or goes on from a snapshot. */
export interface VmParts {
  readonly backend: CpuBackend;
  /** In this order /dev/vda, /dev/vdb… */
  readonly disks?: readonly Disk[];
  /** Drives are there, and empty until `insertDisks`. */
  readonly disksLater?: boolean;
  /** More devices, in the order of the DSDT: after the disks, before the balloon. */
  readonly devices?: readonly VirtioDevice[];
  readonly onConsole?: (bytes: Uint8Array) => void;
  readonly onSerial?: (byte: number) => void;
}

export interface VmConfig extends VmParts {
  /** Its bytes: a mapping of its file, best of all. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
}

/** Plain data, fit for structuredClone. */
export interface VmState {
  readonly cpu: CpuState;
  readonly transports: readonly TransportState[];
  readonly serial: SerialState;
}

/** Lines of console output kept for a crash report. */
const TAIL_BYTES = 8 * 1024;

export class Vm implements AsyncDisposable {
  readonly machine: Machine;
  readonly console: Console;
  /** Free pages that the guest reports go back to the host. */
  readonly balloon: Balloon;
  readonly transports: readonly VirtioMmio[];
  readonly #backend: CpuBackend;
  readonly #serial: Serial;
  readonly #generation: GenerationId;
  readonly #disks: readonly FileBackend[];
  readonly #drives: readonly Block[];
  #tail = "";

  private constructor(config: VmParts) {
    const { backend } = config;
    this.#backend = backend;
    this.machine = new Machine(backend);
    this.#disks = openDisks(config.disks ?? []);
    this.console = new Console((bytes) => {
      this.#remember(bytes);
      config.onConsole?.(bytes);
    });
    this.balloon = new Balloon((address, sizeBytes) => backend.discard(address, sizeBytes));
    const empty = config.disksLater ?? false;
    this.#drives = this.#disks.map((disk, index) => new Block(disk, `disk${index}`, { empty }));
    const devices: VirtioDevice[] = [
      ...this.#drives,
      this.console,
      new Entropy(),
      ...(config.devices ?? []),
      this.balloon,
    ];
    this.transports = devices.map((device, index) => this.#attach(device, index));
    this.#serial = new Serial(this.machine.interrupts.line(COM1_GSI), (byte) => {
      this.#remember(Uint8Array.of(byte));
      config.onSerial?.(byte);
    });
    this.#generation = new GenerationId(
      backend.memory,
      BOOT.generationId,
      this.machine.claimLine(),
    );
    this.#attachLegacy();
  }

  /**
   * Builds the machine and boots the kernel into it; `run` starts it. The backend is the machine's
   * from here on, also when this fails.
   */
  static async create(config: VmConfig): Promise<Vm> {
    let vm: Vm | undefined;
    try {
      vm = new Vm(config);
      const plan = planBoot({
        kernel: config.kernel,
        ...(config.initrd === undefined ? {} : { initrd: config.initrd }),
        commandLine: config.commandLine,
        memorySizeBytes: config.backend.memory.sizeBytes,
        acpi: vm.#describe(),
      });
      writeBoot(config.backend.memory, plan);
      await config.backend.attach(vm.machine);
      await config.backend.setEntry(plan.registers);
      return vm;
    } catch (error) {
      await (vm ?? config.backend)[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * The machine that was saved, in one made alike: `read` fills RAM and returns the rest of it. The
   * backend is the machine's, also when this fails.
   */
  static async createFrom(parts: VmParts, read: (backend: CpuBackend) => VmState): Promise<Vm> {
    let vm: Vm | undefined;
    try {
      vm = new Vm(parts);
      const state = read(parts.backend);
      await parts.backend.attach(vm.machine);
      await vm.restore(state);
      return vm;
    } catch (error) {
      await (vm ?? parts.backend)[Symbol.asyncDispose]();
      throw error;
    }
  }

  get cpu(): CpuBackend["name"] {
    return this.#backend.name;
  }

  /** For drives that were empty so far. */
  insertDisks(): void {
    for (const drive of this.#drives) drive.insert();
  }

  /** Typed on the serial console; returns how many bytes it had room for. */
  serialInput(bytes: Uint8Array): number {
    return this.#serial.input(bytes);
  }

  /** Brings the guest to rest: `run` returns "paused", and goes on when it is called again. */
  pause(): void {
    this.#backend.pause();
  }

  /** Everything but RAM and disks. Only while the machine is at rest. */
  async save(): Promise<VmState> {
    return {
      cpu: await this.#backend.save(),
      transports: this.transports.map((transport) => transport.save()),
      serial: this.#serial.save(),
    };
  }

  /** What its CPU has made of code, if it makes anything. Only while the machine is at rest. */
  async saveCode(): Promise<Uint8Array | undefined> {
    return await this.#backend.saveCode?.();
  }

  /** Into a machine made alike, whose RAM holds what that one's held. */
  async restore(state: VmState): Promise<void> {
    if (state.transports.length !== this.transports.length) {
      throw new RangeError(
        `Cannot restore ${state.transports.length} devices: expected ${this.transports.length}`,
      );
    }
    await this.#backend.restore(state.cpu);
    this.#serial.restore(state.serial);
    state.transports.forEach((transport, index) => {
      this.transports[index]?.restore(transport);
    });
    this.#generation.renew();
  }

  /** Runs until the machine stops, and says why. */
  async run(): Promise<StopReason> {
    const exits = await this.#backend.run();
    const failed = exits.find(({ reason }) => reason !== "kicked");
    if (this.machine.stopReason === undefined && failed !== undefined) {
      this.machine.stop({ kind: "crash", why: explainExit(failed) });
    }
    return this.machine.stopReason ?? { kind: "paused" };
  }

  /** For a machine that crashed: registers, code and last words. */
  async describeCrash(): Promise<string> {
    const reason = this.machine.stopReason;
    return await formatCrash({
      why: reason?.kind === "crash" ? reason.why : (reason?.kind ?? "it runs"),
      registers: await this.#backend.registers(0),
      memory: this.machine.memory,
      consoleTail: this.#tail,
    });
  }

  /** What the CPU has counted, running or not; undefined where the processor is not ours (KVM). */
  async stats(): Promise<CpuReport | undefined> {
    return await this.#backend.report?.();
  }

  /** The last lines the guest wrote to any console. */
  get consoleTail(): string {
    return this.#tail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend[Symbol.asyncDispose]();
    for (const disk of this.#disks) disk[Symbol.dispose]();
  }

  #attach(device: VirtioDevice, index: number): VirtioMmio {
    const base = VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_WINDOW;
    const { machine } = this;
    const pending = this.#backend.shareInterruptStatus?.(base);
    const transport = new VirtioMmio(device, machine.memory, machine.claimLine(), pending);
    this.machine.mmio.attach({
      name: device.name,
      base,
      sizeBytes: VIRTIO_MMIO_WINDOW,
      device: transport,
    });
    device.queueSizes.forEach((_, queue) => {
      const address = base + mmioRegisters.QueueNotify;
      this.#backend.bindBell({ address, value: queue, ring: () => transport.notify(queue) });
    });
    return transport;
  }

  #attachLegacy(): void {
    const { pio } = this.machine;
    pio.attach({ name: "com1", base: COM1_PORT, sizeBytes: 8, device: this.#serial });
    pio.attach({
      name: "power",
      base: ACPI_PORT,
      sizeBytes: 3,
      device: new PowerPorts(this.machine),
    });
    pio.attach({
      name: "i8042",
      base: I8042_PORT,
      sizeBytes: 5,
      device: new KeyboardController(this.machine),
    });
  }

  #describe(): AcpiMachine {
    return {
      cpus: this.#backend.cpus,
      virtio: this.transports.map(({ line }, index) => ({
        base: VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_WINDOW,
        sizeBytes: VIRTIO_MMIO_WINDOW,
        gsi: line.gsi,
      })),
      com1: { port: COM1_PORT, gsi: COM1_GSI },
      generation: { address: this.#generation.address, gsi: this.#generation.line.gsi },
      ioApic: IO_APIC_ADDRESS,
      localApic: LOCAL_APIC_ADDRESS,
      powerPort: ACPI_PORT,
    };
  }

  #remember(bytes: Uint8Array): void {
    this.#tail = (this.#tail + Buffer.from(bytes).toString("latin1")).slice(-TAIL_BYTES);
  }
}

/** All or none. */
function openDisks(disks: readonly Disk[]): readonly FileBackend[] {
  const opened: FileBackend[] = [];
  try {
    for (const { path, readOnly } of disks) opened.push(new FileBackend(path, { readOnly }));
  } catch (error) {
    for (const disk of opened) disk[Symbol.dispose]();
    throw error;
  }
  return opened;
}

function explainExit(exit: VmExit): string {
  switch (exit.reason) {
    case "shutdown":
      return "triple fault";
    case "halt":
      return "halted for ever";
    case "failed":
      return exit.why;
    case "kicked":
      return "stopped";
    default:
      return exit satisfies never;
  }
}
