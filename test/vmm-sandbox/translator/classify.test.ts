import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import {
  classifyElf,
  classifyProgram,
  ProgramError,
} from "../../../vmm-sandbox/translator/classify.ts";
import { Random } from "./vectors.ts";

/** An ELF64 file with one executable section. */
function program(code: readonly number[]): Uint8Array {
  const file = new Uint8Array(64 + code.length + 128);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0x7f45_4c46);
  view.setUint8(4, 2);
  view.setUint16(18, 62, true);
  const table = 64 + code.length;
  view.setBigUint64(40, BigInt(table), true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 2, true);
  view.setUint32(table + 64 + 4, 1, true);
  view.setBigUint64(table + 64 + 8, 6n, true);
  view.setBigUint64(table + 64 + 24, 64n, true);
  view.setBigUint64(table + 64 + 32, BigInt(code.length), true);
  file.set(code, 64);
  return file;
}

/** sgdt [rax]; pushf; popf; int 0x80; mov ds, eax; int3; hlt; a lone 0x06, which is none */
const code = [0x0f, 1, 0, 0x9c, 0x9d, 0xcd, 0x80, 0x8e, 0xd8, 0xcc, 0xf4, 0x06] as const;

describe("classifyProgram()", () => {
  it("counts sensitive and privileged instructions of an ELF file", () => {
    const found = classifyElf(program(code));
    assert.equal(found.bits, 64);
    assert.equal(found.instructions, 7);
    assert.equal(found.undecodedBytes, 1);
    const counted = Object.entries(found.sensitive).filter(([, count]) => count > 0);
    assert.deepEqual(counted, [
      ["SGDT", 1],
      ["PUSHF", 1],
      ["POPF", 1],
      ["segment load", 1],
      ["INT n", 1],
    ]);
    assert.deepEqual(found.privileged, { hlt: 1 });
  });

  it("unpacks the kernel of a bzImage", () => {
    const payload = gzipSync(program(code));
    const image = new Uint8Array(1024 + payload.length);
    const view = new DataView(image.buffer);
    image.set([0x48, 0x64, 0x72, 0x53], 0x202);
    view.setUint8(0x1f1, 1);
    view.setUint32(0x24c, payload.length, true);
    image.set(payload, 1024);
    assert.equal(classifyProgram(image).instructions, 7);
  });

  for (const [why, bytes, message] of [
    ["a text", new TextEncoder().encode("#!/bin/sh\n".repeat(20)), /expected an ELF program/],
    ["a file cut off", program(code).subarray(0, 80), /cut off/],
    ["code of another processor", program(code).with(18, 183), /ELF machine 183/],
  ] as const)
    it(`refuses ${why}`, () =>
      assert.throws(() => classifyProgram(bytes), { name: "ProgramError", message }));

  it("survives broken files with a ProgramError at worst", () => {
    const random = new Random(11);
    for (let round = 0; round < 3000; round++) {
      const file = program(code);
      for (let i = 0; i < 4; i++) file[random.below(file.length)] = random.below(256);
      try {
        classifyProgram(file);
      } catch (error) {
        assert.ok(error instanceof ProgramError, String(error));
      }
    }
  });
});
