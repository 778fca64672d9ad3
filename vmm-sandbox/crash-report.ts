/** What is left of a guest that crashed: registers, the code where it died, its last words. */
import type { VcpuRegisters } from "./machine/cpu-backend.ts";
import { type GuestMemory, GuestMemoryError } from "./machine/guest-memory.ts";
import { walkPageTables } from "./machine/page-walk.ts";
import { generalRegisterNames } from "./machine/vcpu.ts";

export interface CrashScene {
  readonly why: string;
  readonly registers: VcpuRegisters;
  readonly memory: GuestMemory;
  readonly consoleTail: string;
}

const CODE_BYTES = 64;
const INSTRUCTIONS = 6;
const CONSOLE_LINES = 20;
const REGISTERS_PER_LINE = 3;

export async function formatCrash(scene: CrashScene): Promise<string> {
  const { general, system } = scene.registers;
  const code = readCode(scene);
  const instructions =
    code.length === 0
      ? ["(its code cannot be read)"]
      : await disassemble(code, general.rip, bitness(system));
  const console = scene.consoleTail.trimEnd().split("\n").slice(-CONSOLE_LINES);
  return [
    `The guest crashed: ${scene.why}`,
    "",
    ...formatRegisters(scene.registers),
    ...(wasReset(scene.registers) ? [RESET_NOTE] : []),
    "",
    "It was about to run:",
    ...instructions.map((line) => `  ${line}`),
    "",
    "Its last console lines:",
    ...console.map((line) => `  ${line.trimEnd()}`),
    "",
  ].join("\n");
}

/** AMD APM vol. 2 §15.14.3: after SHUTDOWN the guest's state is undefined, so KVM resets it. */
const RESET_NOTE =
  "(These are the values after a reset: AMD processors lose a guest's registers in a triple fault.)";

function wasReset({ general, system }: VcpuRegisters): boolean {
  return general.rip === 0xfff0n && system.cs.base === 0xffff_0000n;
}

function formatRegisters({ general, system }: VcpuRegisters): readonly string[] {
  const control = {
    cr0: system.cr0,
    cr2: system.cr2,
    cr3: system.cr3,
    cr4: system.cr4,
    efer: system.efer,
  };
  const all = [
    ...generalRegisterNames.map((name) => [name, general[name]] as const),
    ...Object.entries(control),
  ];
  const texts = all.map(
    ([name, value]) => `${name.padStart(6)} ${value.toString(16).padStart(16, "0")}`,
  );
  const lines: string[] = [];
  for (let i = 0; i < texts.length; i += REGISTERS_PER_LINE) {
    lines.push(texts.slice(i, i + REGISTERS_PER_LINE).join(" "));
  }
  const { cs, ss } = system;
  lines.push(
    `    cs ${cs.selector.toString(16)} (base ${cs.base.toString(16)}, ${bitness(system)} bits)  ss ${ss.selector.toString(16)}`,
  );
  return lines;
}

function bitness(system: VcpuRegisters["system"]): 16 | 32 | 64 {
  return system.cs.l === 1 ? 64 : system.cs.db === 1 ? 32 : 16;
}

/** Up to the end of its page: the next may be anywhere. */
function readCode({ registers, memory }: CrashScene): Uint8Array {
  const { general, system } = registers;
  const linear = system.cs.l === 1 ? general.rip : system.cs.base + general.rip;
  const address = walkPageTables(memory, system, linear);
  if (address === undefined) return new Uint8Array(0);
  try {
    return memory.copyOut(address, Math.min(CODE_BYTES, 4096 - (address % 4096)));
  } catch (error) {
    if (error instanceof GuestMemoryError) return new Uint8Array(0);
    throw error;
  }
}

/**
 * iced-x86 takes 50 ms to load: only here, when somebody has died. A sealed monitor can no longer
 * read it from its file, nor is it in the executable: then the bytes must do.
 */
async function disassemble(
  code: Uint8Array,
  rip: bigint,
  bits: number,
): Promise<readonly string[]> {
  const iced = await import("iced-x86").catch(() => undefined);
  if (iced === undefined)
    return [`${rip.toString(16).padStart(16, "0")}  ${Buffer.from(code).toString("hex")}`];
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax } = iced;
  const decoder = new Decoder(bits, code, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Intel);
  decoder.ip = rip;
  const lines: string[] = [];
  try {
    while (lines.length < INSTRUCTIONS && decoder.canDecode) {
      const instruction = decoder.decode();
      lines.push(
        `${instruction.ip.toString(16).padStart(16, "0")}  ${formatter.format(instruction)}`,
      );
      instruction.free();
    }
  } finally {
    formatter.free();
    decoder.free();
  }
  return lines;
}
