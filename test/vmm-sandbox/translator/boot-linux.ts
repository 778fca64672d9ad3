/**
 * Boots a Linux kernel on the software CPU with the serial console on stdout:
 *
 *   tsx boot-linux.ts KERNEL INITRD [command line] [MiB]
 */
import { readFileSync } from "node:fs";
import { planBoot, writeBoot } from "../../../vmm-sandbox/boot/index.ts";
import { KeyboardController, PowerPorts } from "../../../vmm-sandbox/devices/power.ts";
import { Serial } from "../../../vmm-sandbox/devices/serial.ts";
import type { Clock } from "../../../vmm-sandbox/machine/clock.ts";
import {
  ACPI_PORT,
  COM1_GSI,
  COM1_PORT,
  I8042_PORT,
  IO_APIC_ADDRESS,
  LOCAL_APIC_ADDRESS,
} from "../../../vmm-sandbox/machine/layout.ts";
import {
  CompilingBeside,
  startRegionThread,
} from "../../../vmm-sandbox/translator/region/compiler-thread.ts";
import type { RegionCompiling } from "../../../vmm-sandbox/translator/region/request.ts";
import { createCpuMemory } from "../../../vmm-sandbox/translator/system/cpu-memory.ts";
import {
  createSoftwareMachine,
  type SoftwareMachine,
} from "../../../vmm-sandbox/translator/vcpu.ts";

export type LinuxBoot = {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly commandLine: string;
  readonly ramBytes: number;
  readonly onOutput: (byte: number) => void;
  /** Hot code is compiled on a thread of its own, as in machines; else deterministically on this one. */
  readonly compilesBeside?: boolean;
  /** Another compiler, another clock: lockstep/. */
  readonly compiling?: (memory: WebAssembly.Memory) => RegionCompiling;
  readonly clock?: Clock;
};

/** A machine ready to run: kernel loaded, serial console and power ports attached. */
export function prepareLinux(boot: LinuxBoot): SoftwareMachine & { readonly serial: Serial } {
  const { ramBytes } = boot;
  const memory = createCpuMemory(ramBytes);
  const thread = boot.compilesBeside ? startRegionThread(memory, ramBytes) : undefined;
  const compiling = thread ? new CompilingBeside(thread.connection) : boot.compiling?.(memory);
  const software = createSoftwareMachine({
    ramBytes,
    memory,
    ...(compiling ? { compiling } : {}),
    ...(boot.clock ? { clock: boot.clock } : {}),
  });
  const { machine, vcpu } = software;
  const serial = new Serial(machine.interrupts.line(COM1_GSI), boot.onOutput);
  machine.pio.attach({ name: "com1", base: COM1_PORT, sizeBytes: 8, device: serial });
  machine.pio.attach({
    name: "power",
    base: ACPI_PORT,
    sizeBytes: 3,
    device: new PowerPorts(machine),
  });
  machine.pio.attach({
    name: "i8042",
    base: I8042_PORT,
    sizeBytes: 5,
    device: new KeyboardController(machine),
  });
  const plan = planBoot({
    kernel: boot.kernel,
    ...(boot.initrd ? { initrd: boot.initrd } : {}),
    commandLine: boot.commandLine,
    memorySizeBytes: boot.ramBytes,
    acpi: {
      cpus: 1,
      virtio: [],
      com1: { port: COM1_PORT, gsi: COM1_GSI },
      ioApic: IO_APIC_ADDRESS,
      localApic: LOCAL_APIC_ADDRESS,
      powerPort: ACPI_PORT,
    },
  });
  writeBoot(machine.memory, plan);
  vcpu.setRegisters(plan.registers);
  return { ...software, serial };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const [, , kernel, initrd, commandLine, mebibytes] = process.argv;
  const start = performance.now();
  const { machine, vcpu } = prepareLinux({
    kernel: readFileSync(kernel ?? ""),
    ...(initrd ? { initrd: readFileSync(initrd) } : {}),
    commandLine: commandLine ?? "console=ttyS0 earlyprintk=ttyS0 panic=-1 reboot=k mitigations=off",
    ramBytes: Number(mebibytes ?? 256) << 20,
    onOutput: (byte) => process.stdout.write(Uint8Array.of(byte)),
    compilesBeside: !process.env["COMPILE_HERE"],
  });
  const prepared = performance.now();
  const timeout = Number(process.env["SECONDS_LIMIT"] ?? 60) * 1000;
  const { cpu } = vcpu;
  const apic = cpu.apic as { tick(now: number): void };
  const tick = apic.tick.bind(apic);
  apic.tick = (now) => {
    if (performance.now() - start > timeout) machine.stop({ kind: "crash", why: "out of time" });
    tick(now);
  };
  const exit = vcpu.run();
  const { general, system } = vcpu.getRegisters();
  console.error(
    "\nexit",
    exit,
    machine.stopReason,
    `prepare ${(prepared - start).toFixed(0)} ms, run ${(performance.now() - prepared).toFixed(0)} ms`,
  );
  if (process.env["VERBOSE"]) {
    console.error(
      Object.entries(general)
        .map(([n, v]) => `${n}=${v.toString(16)}`)
        .join(" "),
    );
    console.error(
      "cr0",
      system.cr0.toString(16),
      "cr2",
      system.cr2.toString(16),
      "cr3",
      system.cr3.toString(16),
      "cr4",
      system.cr4.toString(16),
    );
  }
  console.error(cpu.statistics, cpu.translator.statistics, cpu.jit.statistics, {
    tlbMisses: cpu.paging.misses,
    flushes: cpu.paging.flushes,
  });
}
