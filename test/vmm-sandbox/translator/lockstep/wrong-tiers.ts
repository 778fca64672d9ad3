/** Tiers that are wrong on purpose: what lockstep.ts must find. */
import type { Emitter } from "../../../../vmm-sandbox/translator/emit/integer.ts";
import {
  asInt,
  fromI64,
  keepInt,
  toI64Unsigned,
} from "../../../../vmm-sandbox/translator/emit/site.ts";
import { emitters } from "../../../../vmm-sandbox/translator/interpreter/forms.ts";
import { i64, keep } from "../../../../vmm-sandbox/translator/wasm/assembler.ts";
import { tierOf } from "./tiers.ts";
import type { Tier } from "./traced-machine.ts";

/** The early tier with an instruction that does something more. */
export function withWrong(mnemonic: keyof typeof wrongInstructions): Tier {
  const more: Emitter = wrongInstructions[mnemonic];
  // SAFE: the table is plain data; it is put back after each compilation.
  const table = emitters as Record<string, Emitter>;
  const right = table[mnemonic] as Emitter;
  return {
    ...tierOf("early"),
    name: `early, with ${mnemonic} wrong`,
    whileCompiling: (compile) => {
      table[mnemonic] = (site) => {
        right(site);
        more(site);
      };
      try {
        return compile();
      } finally {
        table[mnemonic] = right;
      }
    },
  };
}

/** One bit of the result, or one of a word below the stack's pointer, is not what it should be. */
const wrongInstructions = {
  popcnt: (site) => {
    const place = site.place(0);
    const flip = i64.const(1 << 20);
    place.write(
      keepInt(
        place.size,
        fromI64(place.size, i64.xor(toI64Unsigned(place.size, place.read()), flip)),
      ),
    );
  },
  leave: (site) => {
    const address = keep.i64(i64.sub(site.register(4, 64).read(), i64.const(256)));
    site.memory(64, address).write(keepInt(64, asInt(i64.const(12_345))));
  },
} satisfies Readonly<Record<string, Emitter>>;
