/** Instructions that a processor is about to run, kept as bytes and printed when somebody asks. */
import { Decoder, Formatter, FormatterSyntax } from "iced-x86";
import { access } from "../../../../vmm-sandbox/translator/mmu/paging.ts";
import { layout, state } from "../../../../vmm-sandbox/translator/state.ts";
import type { Cpu } from "../../../../vmm-sandbox/translator/system/cpu.ts";

const longestInstruction = 15;

export interface Step {
  readonly rip: bigint;
  /** Up to the end of its page; none: it is not mapped. */
  readonly bytes: Uint8Array;
}

export function stepHere({ paging, registers, isUser }: Cpu): Step {
  const { rip } = registers;
  const [low, high] = [registers.get32(state.rip), registers.get32(state.rip + 4)];
  if (!paging.walk(low, high, access.fetch, isUser)) return { rip, bytes: new Uint8Array() };
  const host = paging.hostOf(paging.physicalPage) + (low & 0xfff);
  const length = Math.min(longestInstruction, 4096 - (low & 0xfff));
  return {
    rip,
    bytes: host < layout.ram ? new Uint8Array() : registers.bytes.slice(host, host + length),
  };
}

export function describeCode(steps: readonly Step[]): string[] {
  const formatter = new Formatter(FormatterSyntax.Intel);
  try {
    return steps.map(({ rip, bytes }) => {
      const decoder = new Decoder(64, bytes, 0);
      decoder.ip = rip;
      const instruction = decoder.decode();
      const text = bytes.length === 0 ? "not mapped" : formatter.format(instruction);
      instruction.free();
      decoder.free();
      return `${rip.toString(16)}: ${text}`;
    });
  } finally {
    formatter.free();
  }
}
