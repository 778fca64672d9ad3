/** FXSAVE and FXRSTOR on words, and piece by piece where a page ends within or is not in the TLB. */
import assert from "node:assert/strict";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import { codeAt, startSupervisor } from "./supervisor.ts";

const hlt = 0xf4;
const save = [0x0f, 0xae, 0x00, hlt];
const restore = [0x0f, 0xae, 0x08, hlt];
const areas = { inOnePage: 0x30_1040, acrossTwo: 0x30_2f00 } as const;
/** From x87's registers to its pointers, and XMM's. */
const parts = [
  [state.xmm, 0x100],
  [state.st, 0x80],
  [state.mxcsr, state.fdp + 8 - state.mxcsr],
] as const;

type Guest = ReturnType<typeof startSupervisor>;

function run({ cpu, vcpu, ram, registers }: Guest, code: readonly number[], at: number): void {
  ram.set(code, codeAt);
  cpu.codeWritten(codeAt, code.length);
  registers.setGpr(0, BigInt(at));
  registers.rip = BigInt(codeAt);
  cpu.halted = false;
  assert.deepEqual(vcpu.run(), { reason: "halt" });
  assert.equal(registers.rip, BigInt(codeAt + code.length), "nothing faulted");
}

function registersOf({ registers: { bytes } }: Guest): string {
  const text = ([at, size]: (typeof parts)[number]) =>
    Buffer.from(bytes.slice(layout.state + at, layout.state + at + size)).toString("hex");
  return parts.map(text).join("\n");
}

function fill({ registers }: Guest): void {
  const { bytes } = registers;
  for (let i = 0; i < 0x100; i++) bytes[layout.state + state.xmm + i] = i * 7 + 1;
  for (let i = 0; i < 8 * 16; i++) bytes[layout.state + state.st + i] = i % 16 < 10 ? i * 5 + 3 : 0;
  registers.set32(state.fcw, 0x27f);
  registers.set32(state.fsw, 0x4101);
  registers.set32(state.ftop, 5);
  registers.set32(state.ftags, 0xa5);
  registers.set32(state.fop, 0x5b1);
  registers.set64(state.fip, 0x1122_3344_5566n);
  registers.set64(state.fdp, 0x7766_5544_3322n);
  registers.set32(state.mxcsr, 0x1fa1);
}

describe("FXSAVE and FXRSTOR", () => {
  it("write the same, however they reach memory", () => {
    const guest = startSupervisor([]);
    fill(guest);
    const images = Object.values(areas).flatMap((at) =>
      ["piece by piece at first", "then on words"].map(() => {
        guest.ram.fill(0xcc, at, at + 512);
        run(guest, save, at);
        return Buffer.from(guest.ram.slice(at, at + 512)).toString("hex");
      }),
    );
    assert.equal(new Set(images).size, 1);
    const image = Buffer.from(images[0] ?? "", "hex");
    assert.equal(image.readUInt16LE(2), 0x4101 | (5 << 11), "TOP is in the status word");
    assert.equal(image[32], (5 * 16 * 5 + 3) & 0xff, "ST(0) comes first");
    assert.ok(
      image.subarray(416).every((byte) => byte === 0xcc),
      "the rest is left alone",
    );
  });

  for (const [name, at] of Object.entries(areas))
    it(`restore all that was saved, ${name}`, () => {
      const guest = startSupervisor([]);
      fill(guest);
      const before = registersOf(guest);
      run(guest, save, at);
      for (let turn = 0; turn < 2; turn++) {
        for (const [from, size] of parts)
          guest.registers.bytes.fill(0, layout.state + from, layout.state + from + size);
        run(guest, restore, at);
        assert.equal(registersOf(guest), before);
      }
    });
});
