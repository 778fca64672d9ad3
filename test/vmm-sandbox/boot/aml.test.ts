import assert from "node:assert/strict";
import * as aml from "../../../vmm-sandbox/boot/aml.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("AML encoder", () => {
  // Expected bytes worked out by hand from ACPI 6.5 §20.2.
  const cases: readonly (readonly [what: string, actual: () => Uint8Array, expected: string])[] = [
    ["zero", () => aml.integer(0), "00"],
    ["one", () => aml.integer(1), "01"],
    ["a byte", () => aml.integer(0xff), "0aff"],
    ["a word", () => aml.integer(0x100), "0b0001"],
    ["a double word", () => aml.integer(0x1_0000), "0c00000100"],
    ["a quad word", () => aml.integer(0x1_0000_0000n), "0e0000000001000000"],
    ["a rooted name", () => aml.nameString("\\_SB"), "5c5f53425f"],
    ["a name of two segments", () => aml.nameString("\\_SB.V0"), "5c2e5f53425f56305f5f"],
    ["a name of three segments", () => aml.nameString("A.B.C"), "2f03415f5f5f425f5f5f435f5f5f"],
    ["an EISA id", () => aml.eisaId("PNP0501"), "0c41d00501"],
    ["a string", () => aml.string("hi"), "0d686900"],
    ["a package", () => aml.pack(aml.integer(5), aml.integer(0)), "1205020a0500"],
    [
      "a one-byte length up to 63",
      () => aml.scope("A", new Uint8Array(58)),
      `103f415f5f5f${"00".repeat(58)}`,
    ],
    [
      "a two-byte length from 64",
      () => aml.scope("A", new Uint8Array(59)),
      `104104415f5f5f${"00".repeat(59)}`,
    ],
  ];
  for (const [what, actual, expected] of cases)
    it(`encodes ${what}`, () => assert.equal(hex(actual()), expected));

  it("uses three length bytes where two do not do", () => {
    const body = aml.scope("A", new Uint8Array(5000));
    assert.equal(
      hex(body.subarray(0, 4)),
      `10${hex(Uint8Array.of(0x80 | (5007 & 15), (5007 >> 4) & 255, 5007 >> 12))}`,
    );
  });

  const bad: readonly (readonly [why: string, make: () => unknown])[] = [
    ["a negative integer", () => aml.integer(-1)],
    ["an integer of 65 bits", () => aml.integer(1n << 64n)],
    ["a name of five characters", () => aml.nameString("ABCDE")],
    ["a name in lower case", () => aml.nameString("abc")],
    ["an empty name", () => aml.nameString("")],
    ["a string with NUL", () => aml.string("a\0b")],
    ["a string beyond ASCII", () => aml.string("é")],
    ["a malformed EISA id", () => aml.eisaId("PNP05")],
    ["a package of 256", () => aml.pack(...Array.from({ length: 256 }, () => aml.integer(0)))],
  ];
  for (const [why, make] of bad) it(`refuses ${why}`, () => assert.throws(make, RangeError));
});
