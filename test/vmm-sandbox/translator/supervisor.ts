/** A 64-bit supervisor on identity pages: 16 MiB, of which 2 to 4 MiB are in small ones. */
import {
  CompilingBeside,
  startRegionThread,
} from "../../../vmm-sandbox/translator/region/compiler-thread.ts";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import { createCpuMemory } from "../../../vmm-sandbox/translator/system/cpu-memory.ts";
import { flatCode64, flatData } from "../../../vmm-sandbox/translator/system/system-calls.ts";
import {
  createSoftwareMachine,
  type SoftwareMachine,
} from "../../../vmm-sandbox/translator/vcpu.ts";

const ramBytes = 16 << 20;
export const codeAt = 0x10_0000;
const stackAt = 0x20_0000;
export const handlerAt = 0x11_0000;
const idtAt = 0x5000;
const gdtAt = 0x6000;

/** The same with a thread that compiles its hot code. */
export function startBeside() {
  const memory = createCpuMemory(ramBytes);
  const thread = startRegionThread(memory, ramBytes);
  const compiling = new CompilingBeside(thread.connection);
  return { ...superviseIn(createSoftwareMachine({ ramBytes, memory, compiling }), []), thread };
}

/** Runs `code` at 0x100000; exceptions and interrupts end in a HLT. */
export function startSupervisor(code: readonly number[]) {
  return superviseIn(createSoftwareMachine({ ramBytes }), code);
}

function superviseIn({ machine, vcpu }: SoftwareMachine, code: readonly number[]) {
  const { cpu } = vcpu;
  const ram = new Uint8Array(cpu.registers.bytes.buffer, layout.ram, ramBytes);
  const words = new BigUint64Array(cpu.registers.bytes.buffer, layout.ram, ramBytes / 8);
  words[0x1000 / 8] = 0x2003n;
  words[0x2000 / 8] = 0x3003n;
  for (let i = 0; i < 8; i++) words[0x3000 / 8 + i] = (BigInt(i) << 21n) | 0x83n;
  words[0x3000 / 8 + 1] = 0x4003n; // 2 to 4 MiB in small pages
  for (let i = 0; i < 512; i++) words[0x4000 / 8 + i] = BigInt(0x20_0000 + i * 4096) | 3n;
  words[gdtAt / 8 + 2] = 0x00af_9b00_0000_ffffn;
  words[gdtAt / 8 + 3] = 0x00cf_9300_0000_ffffn;
  const { registers } = cpu;
  registers.gdt = { base: BigInt(gdtAt), limit: 0x1f };
  registers.idt = { base: BigInt(idtAt), limit: 0xfff };
  for (let v = 0; v < 256; v++)
    words[idtAt / 8 + v * 2] =
      BigInt(handlerAt & 0xffff) |
      (0x10n << 16n) |
      (0x8en << 40n) |
      (BigInt(handlerAt >> 16) << 48n);
  for (let i = 0; i < 6; i++)
    registers.setSegment(i, i === 1 ? 0x10 : 0x18, i === 1 ? flatCode64(0) : flatData(0));
  registers.set64(state.cr3, 0x1000n);
  registers.set64(state.cr4, 0x620n);
  registers.set64(state.efer, 0xd01n);
  registers.set64(state.cr0, 0x8001_0033n);
  cpu.setPrivilege(0);
  cpu.flushMapping(true);
  registers.setGpr(4, BigInt(stackAt));
  registers.rip = BigInt(codeAt);
  ram.set(code, codeAt);
  ram[handlerAt] = 0xf4; // hlt, with IF clear: run() ends
  return { machine, vcpu, cpu, ram, words, registers };
}
