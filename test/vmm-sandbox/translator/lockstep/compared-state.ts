/** The part of a processor's state on which two tiers must agree wherever both can be looked at. */
import { layout, state } from "../../../../vmm-sandbox/translator/state.ts";
import type { Cpu } from "../../../../vmm-sandbox/translator/system/cpu.ts";

const resumeFlag = 0x1_0000; // stepping clears it after each instruction, emitted code leaves it

type Part = { readonly name: string; readonly at: number; readonly words: number };

const registerNames = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");
const segmentNames = "es cs ss ds fs gs ldtr tr".split(" ");

/** As emitted code keeps them; RFLAGS and RIP stand before these, in two and two words. */
const parts: readonly Part[] = [
  ...registerNames.map((name, i) => ({ name, at: state.gpr + i * 8, words: 2 })),
  ...segmentNames.map((name, i) => ({ name, at: state.selectors + i * 4, words: 1 })),
  ...segmentNames
    .slice(0, 6)
    .map((name, i) => ({ name: `${name} base`, at: state.segmentBase + i * 8, words: 2 })),
  { name: "kernel GS base", at: state.kernelGsBase, words: 2 },
  { name: "CPL", at: state.cpl, words: 1 },
  ...(["cr0", "cr2", "cr3", "cr4", "efer"] as const).map((name) => ({
    name,
    at: state[name],
    words: 2,
  })),
  ...Array.from({ length: 16 }, (_, i) => ({
    name: `xmm${i}`,
    at: state.xmm + i * 16,
    words: 4,
  })),
  ...Array.from({ length: 8 }, (_, i) => ({ name: `st${i}`, at: state.st + i * 16, words: 3 })),
  ...(["mxcsr", "fcw", "fsw", "ftop", "ftags"] as const).map((name) => ({
    name,
    at: state[name],
    words: 1,
  })),
];

const places: readonly { readonly name: string; readonly at: number; readonly words: number }[] =
  (() => {
    let at = 4;
    return parts.map(({ name, words }) => {
      const place = { name, at, words };
      at += words;
      return place;
    });
  })();

const sources = Int32Array.from(
  parts.flatMap(({ at, words }) =>
    Array.from({ length: words }, (_, i) => (layout.state + at) / 4 + i),
  ),
);

export const stateWords = 4 + sources.length;

/** `page`: RIP is not known, only its page: a helper is about to run. */
export function readState({ registers }: Cpu, into: Int32Array, rip: "exact" | "page"): Int32Array {
  const { words } = registers;
  const from = rip === "exact" ? state.rip : state.virtualPage;
  into[0] = registers.get32(from);
  into[1] = registers.get32(from + 4);
  into[2] = registers.rflags & ~resumeFlag;
  into[3] = 0;
  for (let i = 0; i < sources.length; i++) into[i + 4] = words[sources[i] as number] as number;
  return into;
}

/** Two times 32 bits. */
export function hashOf(words: Int32Array, salt: number): readonly [number, number] {
  let [a, b] = [0x811c_9dc5 ^ salt, 0x9e37_79b9 + salt];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as number;
    a = Math.imul(a ^ word, 0x0100_0193);
    a ^= a >>> 15;
    b = Math.imul(b + word, 0x85eb_ca6b);
    b = (b << 13) | (b >>> 19);
  }
  return [a | 0, b | 0];
}

/** What differs, by name. */
export function differencesOf(ours: Int32Array, theirs: Int32Array): string[] {
  const all = [{ name: "rip", at: 0, words: 2 }, { name: "rflags", at: 2, words: 1 }, ...places];
  return all.flatMap(({ name, at, words }) => {
    const [a, b] = [textOf(ours, at, words), textOf(theirs, at, words)];
    return a === b ? [] : [`${name} ${a} and ${b}`];
  });
}

function textOf(state: Int32Array, at: number, words: number): string {
  let text = "";
  for (let i = words - 1; i >= 0; i--)
    text += ((state[at + i] as number) >>> 0).toString(16).padStart(8, "0");
  return text;
}
