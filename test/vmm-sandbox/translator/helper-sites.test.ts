import assert from "node:assert/strict";
import { HelperSites } from "../../../vmm-sandbox/translator/interpreter/helper-sites.ts";
import { Decoder, Instruction } from "../../../vmm-sandbox/translator/isa/decode.ts";

function decode(text: string): Instruction {
  const it = new Instruction();
  const bytes = Uint8Array.from(text.split(" "), (byte) => Number.parseInt(byte, 16));
  assert.equal(new Decoder().decode(it, bytes, 0, bytes.length, 64), "ok");
  return it;
}

describe("HelperSites", () => {
  // biome-ignore format: table
  const pairs: readonly (readonly [what: string, one: string, other: string])[] = [
    ["displacement",     "66 44 0f 3a 08 4b 0e 4a",       "66 44 0f 3a 08 4b 0f 4a"],
    ["scale",            "66 0f 3a 08 04 43 00",          "66 0f 3a 08 04 83 00"],
    ["immediate",        "66 0f 3a 08 03 01",             "66 0f 3a 08 03 02"],
    ["absolute address", "48 a1 01 00 00 00 02 00 00 00", "48 a1 01 00 00 00 03 00 00 00"],
    ["lock prefix",      "0f c7 0b",                      "f0 0f c7 0b"],
  ];
  for (const [what, one, other] of pairs)
    it(`tells instructions apart that differ in ${what} alone`, () => {
      const sites = new HelperSites();
      const number = sites.numberOf(decode(one));
      assert.notEqual(sites.numberOf(decode(other)), number);
      assert.equal(sites.numberOf(decode(one)), number);
    });
});
