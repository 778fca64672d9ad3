/**
 * The software CPU behind the machine's `Vcpu` interface, and a machine whose RAM lives inside its
 * WebAssembly memory.
 */
import type { Clock } from "../machine/clock.ts";
import { GuestMemory } from "../machine/guest-memory.ts";
import type { InterruptController } from "../machine/interrupts.ts";
import { IO_APIC_ADDRESS, LOCAL_APIC_ADDRESS } from "../machine/layout.ts";
import { Machine } from "../machine/machine.ts";
import type {
  DescriptorTable,
  GeneralRegisters,
  generalRegisterNames,
  Segment,
  SystemRegisters,
  Vcpu,
  VcpuState,
  VmExit,
} from "../machine/vcpu.ts";
import { HostChannel } from "./host-channel.ts";
import type { RegionCompiling } from "./region/request.ts";
import { encodeCode, type SavedRuns } from "./saved-code.ts";
import { layout, state } from "./state.ts";
import { interpreter } from "./system/core-instance.ts";
import { Cpu } from "./system/cpu.ts";
import { createCpuMemory } from "./system/cpu-memory.ts";
import { IoApic } from "./system/io-apic.ts";
import type { DescriptorCache } from "./system/registers.ts";
import { restoreCpu, saveCpu } from "./system/saved-state.ts";

/** General registers in the order of their encodings. */
const encodingOrder = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;

const segmentOf = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldt: 6, tr: 7 } as const;

export class SoftwareVcpu implements Vcpu {
  readonly index = 0;
  readonly cpu: Cpu;
  private readonly channel: HostChannel;
  private readonly trigger: (gsi: number) => void;
  /** Called when the other thread wants to know what was counted. */
  onReport: () => void = () => undefined;

  constructor(cpu: Cpu, channel: HostChannel, trigger: (gsi: number) => void) {
    this.cpu = cpu;
    this.channel = channel;
    this.trigger = trigger;
  }

  run(): VmExit {
    const reason = this.cpu.run(
      (timeoutMs) => this.channel.sleep(timeoutMs),
      () => this.channel.take(this.trigger, this.onReport),
    );
    return { reason };
  }

  kick(): void {
    this.channel.kick();
    // Makes running code look up soon; a stale fuel count costs one slice at most.
    this.cpu.registers.set32(state.fuel, 0);
  }

  getRegisters(): { readonly general: GeneralRegisters; readonly system: SystemRegisters } {
    return { general: this.general(), system: this.system() };
  }

  private general(): GeneralRegisters {
    const { registers } = this.cpu;
    const values: Partial<Record<(typeof generalRegisterNames)[number], bigint>> = {};
    for (const [number, name] of encodingOrder.entries()) values[name] = registers.gpr(number);
    values.rip = this.cpu.codeOffset;
    values.rflags = BigInt(registers.rflags);
    // SAFE: the sixteen of the loop and the two above are all the names there are.
    return values as GeneralRegisters;
  }

  private system(): SystemRegisters {
    const { registers } = this.cpu;
    const segment = (name: keyof typeof segmentOf): Segment =>
      toSegment(registers.selector(segmentOf[name]), registers.segment(segmentOf[name]));
    return {
      cs: segment("cs"),
      ds: segment("ds"),
      es: segment("es"),
      fs: segment("fs"),
      gs: segment("gs"),
      ss: segment("ss"),
      tr: segment("tr"),
      ldt: segment("ldt"),
      gdt: { ...registers.gdt },
      idt: { ...registers.idt },
      cr0: registers.get64(state.cr0),
      cr2: registers.get64(state.cr2),
      cr3: registers.get64(state.cr3),
      cr4: registers.get64(state.cr4),
      cr8: this.cpu.readControl(8),
      efer: registers.get64(state.efer),
      apicBase: this.cpu.msrs.read(0x1b),
    };
  }

  setRegisters(values: {
    readonly general?: Partial<GeneralRegisters>;
    readonly system?: Partial<SystemRegisters>;
  }): void {
    const { registers } = this.cpu;
    for (const [number, name] of encodingOrder.entries()) {
      const value = values.general?.[name];
      if (value !== undefined) registers.setGpr(number, value);
    }
    if (values.general?.rflags !== undefined) registers.rflags = Number(values.general.rflags);
    const offset = values.general?.rip ?? this.cpu.codeOffset;
    if (values.system) this.setSystem(values.system);
    this.cpu.jumpTo(offset);
  }

  private setSystem(system: Partial<SystemRegisters>): void {
    const { registers } = this.cpu;
    for (const name of Object.keys(segmentOf) as (keyof typeof segmentOf)[]) {
      const segment = system[name];
      if (segment) registers.setSegment(segmentOf[name], segment.selector, fromSegment(segment));
    }
    const tables: readonly ["gdt" | "idt", DescriptorTable | undefined][] = [
      ["gdt", system.gdt],
      ["idt", system.idt],
    ];
    for (const [name, table] of tables) if (table) registers[name] = { ...table };
    for (const name of ["cr0", "cr2", "cr3", "cr4", "efer"] as const) {
      const value = system[name];
      if (value !== undefined) registers.set64(state[name], value);
    }
    this.cpu.setPrivilege(system.cs ? system.cs.selector & 3 : registers.cpl);
    this.cpu.flushMapping(true);
  }

  save(): VcpuState {
    return { ...this.getRegisters(), ...saveCpu(this.cpu) };
  }

  restore(saved: VcpuState): void {
    this.setRegisters(saved);
    this.cpu.msrs.write(0x1b, saved.system.apicBase);
    restoreCpu(this.cpu, saved);
  }

  /** What has been made of code so far: for a CPU whose RAM is the same. Only at rest. */
  saveCode(): Uint8Array {
    const { cpu } = this;
    if (cpu.codePages?.hasWritten) cpu.codePages.takeWritten(cpu);
    return encodeCode(interpreter(), cpu.translator.save());
  }

  /** After `restore`. */
  restoreCode(saved: SavedRuns): void {
    const { cpu } = this;
    for (const page of cpu.translator.restore(saved)) cpu.codePages?.markCode(page);
  }

  [Symbol.dispose](): void {
    this.cpu.translator.flush();
  }
}

function toSegment(selector: number, cache: DescriptorCache): Segment {
  const { attributes } = cache;
  const bit = (n: number): number => (attributes >> n) & 1;
  return {
    base: cache.base,
    limit: cache.limit >>> 0,
    selector,
    type: attributes & 15,
    s: bit(4),
    dpl: (attributes >> 5) & 3,
    present: bit(7),
    avl: bit(12),
    l: bit(13),
    db: bit(14),
    g: bit(15),
    unusable: bit(7) ^ 1,
  };
}

function fromSegment(segment: Segment): DescriptorCache {
  const attributes =
    segment.type |
    (segment.s << 4) |
    (segment.dpl << 5) |
    (segment.present << 7) |
    (segment.avl << 12) |
    (segment.l << 13) |
    (segment.db << 14) |
    (segment.g << 15);
  return { base: segment.base, limit: segment.limit | 0, attributes };
}

export type SoftwareMachine = {
  readonly machine: Machine;
  readonly vcpu: SoftwareVcpu;
  readonly ioApic: IoApic;
};

/**
 * A machine with one software CPU, its APICs attached, no devices yet. `memory` and `channel` are
 * shared with the thread that runs the devices, if that is another.
 */
export function createSoftwareMachine(options: {
  readonly ramBytes: number;
  readonly clock?: Clock;
  readonly memory?: WebAssembly.Memory;
  readonly channel?: HostChannel;
  /** Who compiles hot code; without one, this thread does. */
  readonly compiling?: RegionCompiling;
}): SoftwareMachine {
  const memory = options.memory ?? createCpuMemory(options.ramBytes);
  const guestMemory = GuestMemory.over(memory.buffer, options.ramBytes, layout.ram);
  let cpu: Cpu | undefined;
  const ioApic = new IoApic((vector) => {
    cpu?.apic.request(vector);
    cpu?.interruptsChanged();
  });
  const interrupts: InterruptController = ioApic;
  const machine = new Machine({
    memory: guestMemory,
    interrupts,
    ...(options.clock ? { clock: options.clock } : {}),
  });
  cpu = new Cpu(memory, machine, options.compiling);
  const { apic } = cpu;
  machine.mmio.attach({
    name: "io-apic",
    base: IO_APIC_ADDRESS,
    sizeBytes: 0x1000,
    device: ioApic,
  });
  machine.mmio.attach({
    name: "local-apic",
    base: LOCAL_APIC_ADDRESS,
    sizeBytes: 0x1000,
    device: {
      read: (offset) => apic.read(offset),
      write: (offset, _size, value) => apic.write(offset, value),
    },
  });
  const channel = options.channel ?? HostChannel.create(options.ramBytes);
  cpu.codePages = channel;
  const vcpu = new SoftwareVcpu(cpu, channel, (gsi) => ioApic.line(gsi).trigger());
  machine.addVcpu(vcpu);
  return { machine, vcpu, ioApic };
}
