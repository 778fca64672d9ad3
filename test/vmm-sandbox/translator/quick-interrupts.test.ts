/** What is decided on words must be what interrupts.ts decides: each case runs warm and with an empty TLB. */
import assert from "node:assert/strict";
import { layout, state } from "../../../vmm-sandbox/translator/state.ts";
import {
  deliver,
  type InterruptKind,
  interruptReturn,
} from "../../../vmm-sandbox/translator/system/interrupts.ts";
import {
  deliverQuickly,
  returnQuickly,
} from "../../../vmm-sandbox/translator/system/quick-interrupts.ts";
import { flatCode64, flatData } from "../../../vmm-sandbox/translator/system/system-calls.ts";
import { startSupervisor } from "./supervisor.ts";

const gdtAt = 0x6000;
const tssAt = 0x7000;
const idtAt = 0x5000;
const kernelStack = 0x30_8000;
const interruptStack = 0x30_a000;
const userRsp = 0x7fff_1234_5677n;
const stateBytes = 0x3b0;

type Supervisor = ReturnType<typeof startSupervisor>;
type Privilege = "user" | "supervisor";

/** GDT: 0x10 and 0x18 the supervisor's, 0x20 and 0x28 the user's data and code, 0x30 the TSS. */
function guestAt(privilege: Privilege): Supervisor {
  const guest = startSupervisor([]);
  const { registers, words, cpu } = guest;
  registers.gdt = { base: BigInt(gdtAt), limit: 0x3f };
  words[gdtAt / 8 + 4] = 0x00cf_f300_0000_ffffn;
  words[gdtAt / 8 + 5] = 0x00af_fb00_0000_ffffn;
  words[(tssAt + 0) / 8] = BigInt(kernelStack) << 32n; // RSP0 is at 4
  words[(tssAt + 0x24) >> 3] = BigInt(interruptStack) << 32n; // IST1 is at 0x24
  registers.setSegment(7, 0x30, { base: BigInt(tssAt), limit: 0x67, attributes: 0x8b });
  registers.rip = 0x40_1234_5678n;
  registers.rflags = 0x0001_0ad7;
  if (privilege === "user") {
    registers.setSegment(1, 0x2b, flatCode64(3));
    registers.setSegment(2, 0x23, flatData(3));
    for (const segment of [0, 3, 4, 5])
      registers.setSegment(segment, 0, { base: 0n, limit: 0, attributes: 0 });
    registers.setGpr(4, userRsp);
    cpu.setPrivilege(3);
  } else registers.setGpr(4, 0x30_9fe9n);
  return guest;
}

/** Puts what delivery reads and writes into the TLB. */
function warm({ cpu }: Supervisor): void {
  for (const address of [idtAt, gdtAt, tssAt]) cpu.readSystem(BigInt(address), 8);
  for (const top of [kernelStack, interruptStack, 0x30_a000])
    cpu.writeSystem(BigInt(top - 8), 8, 0n, false);
}

function outcome({ registers, ram, cpu }: Supervisor) {
  const { bytes, caches } = registers;
  const stacks = ram.slice(kernelStack - 4096, interruptStack + 4096);
  const own = Buffer.from(bytes.subarray(layout.state, layout.state + stateBytes));
  // Generations and counts of the CPU itself are nobody's business.
  own.fill(0, state.modeTag, state.modeTag + 8);
  const segments = caches.map(({ base, limit, attributes }) => [base, limit, attributes]);
  return {
    own: own.toString("hex"),
    stacks: Buffer.from(stacks).toString("hex"),
    segments,
    user: cpu.isUser,
  };
}

const deliveries: readonly (readonly [Privilege, number, InterruptKind, number])[] = [
  ["user", 14, "exception", 0],
  ["user", 14, "exception", 1],
  ["user", 6, "exception", 0],
  ["user", 0x30, "external", 0],
  ["supervisor", 14, "exception", 0],
  ["supervisor", 13, "exception", 1],
  ["supervisor", 0x30, "external", 0],
  ["supervisor", 1, "exception", 0],
];

describe("interrupts decided on words", () => {
  for (const [privilege, number, kind, ist] of deliveries)
    for (const type of [14, 15])
      it(`delivers ${kind} ${number} to ${privilege} code, IST ${ist}, gate of type ${type}, as always`, () => {
        const [quick, general] = [guestAt(privilege), guestAt(privilege)] as const;
        for (const { words } of [quick, general]) {
          const gate = idtAt / 8 + number * 2;
          const cleared = (words[gate] as bigint) & ~((0xfn << 40n) | (7n << 32n));
          words[gate] = cleared | (BigInt(type) << 40n) | (BigInt(ist) << 32n);
        }
        warm(quick);
        assert.ok(deliverQuickly(quick.cpu, number, 0x15, kind), "is usual");
        general.cpu.flushMapping(true);
        assert.ok(!deliverQuickly(general.cpu, number, 0x15, kind), "knows no page");
        deliver(general.cpu, number, 0x15, kind);
        assert.deepEqual(outcome(quick), outcome(general));
      });

  for (const privilege of ["user", "supervisor"] as const)
    it(`returns to ${privilege} code as always`, () => {
      const [quick, general] = [0, 1].map(() => {
        const guest = guestAt("supervisor");
        const isUser = privilege === "user";
        const frame = [
          ...[0x41_8765_4321n, isUser ? 0x2bn : 0x10n, 0x25_4ad7n],
          ...[isUser ? userRsp : 0x30_9000n, isUser ? 0x23n : 0x18n],
        ];
        for (const [i, word] of frame.entries()) guest.words[(interruptStack - 40) / 8 + i] = word;
        guest.registers.setGpr(4, BigInt(interruptStack - 40));
        for (const segment of [0, 3, 4, 5])
          guest.registers.setSegment(segment, 0, { base: 0n, limit: 0, attributes: 0 });
        return guest;
      }) as [Supervisor, Supervisor];
      quick.cpu.readSystem(BigInt(gdtAt), 8);
      quick.cpu.readSystem(BigInt(interruptStack - 8), 8);
      assert.ok(returnQuickly(quick.cpu), "is usual");
      general.cpu.flushMapping(true);
      assert.ok(!returnQuickly(general.cpu), "knows no page");
      interruptReturn(general.cpu, 64);
      assert.deepEqual(outcome(quick), outcome(general));
    });

  it("leaves what is unusual alone", () => {
    const guest = guestAt("user");
    warm(guest);
    const before = outcome(guest);
    const { cpu, words, registers } = guest;
    assert.ok(!deliverQuickly(cpu, 0x80, 0, "software"), "a gate's privilege is checked");
    const gate = idtAt / 8 + 14 * 2;
    const usual = words[gate] as bigint;
    for (const [why, changed] of [
      ["not present", usual & ~(1n << 47n)],
      ["a call gate", (usual & ~(0xfn << 40n)) | (12n << 40n)],
      ["code of the user", (usual & ~0xffff_0000n) | (0x28n << 16n)],
      ["no descriptor", (usual & ~0xffff_0000n) | (0x40n << 16n)],
    ] as const) {
      words[gate] = changed;
      assert.ok(!deliverQuickly(cpu, 14, 0, "exception"), why);
    }
    words[gate] = usual;
    registers.idt = { ...registers.idt, limit: 14 * 16 };
    assert.ok(!deliverQuickly(cpu, 14, 0, "exception"), "beyond the table");
    assert.deepEqual(outcome(guest), before);
  });
});
