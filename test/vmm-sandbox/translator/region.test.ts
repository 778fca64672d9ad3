/** Regions of several pages with calls in line: the same results when the ground moves. */
import assert from "node:assert/strict";
import { startBeside, startSupervisor } from "./supervisor.ts";

const loopAt = 0x30_2f00;
const calleePage = 0x30_3000;
const calleeAt = calleePage + 0x40;
const pageTable = 0x4000;
const times = 400;

const le32 = (value: number): readonly number[] => [0, 8, 16, 24].map((n) => (value >> n) & 0xff);
const call = (from: number): readonly number[] => [0xe8, ...le32(calleeAt - (from + 5))];
/** add eax, n; ret */
const callee = (n: number): readonly number[] => [0x83, 0xc0, n, 0xc3];

/** xor eax, eax; mov ecx, times; again: call callee; `body`; dec ecx; jnz again; hlt */
function loop(body: readonly number[] = []): readonly number[] {
  const before = [0x31, 0xc0, 0xb9, ...le32(times)];
  const again = [...call(loopAt + before.length), ...body, 0xff, 0xc9];
  return [...before, ...again, 0x75, -(again.length + 2) & 0xff, 0xf4];
}

type Supervisor = ReturnType<typeof startSupervisor>;

function run({ vcpu, cpu, registers }: Supervisor): number {
  registers.rip = BigInt(loopAt);
  cpu.halted = false;
  assert.deepEqual(vcpu.run(), { reason: "halt" });
  return Number(registers.gpr(0));
}

/** Ran often enough to be compiled, with its call in line; each iteration adds `each`. */
function heated(body: readonly number[] = [], each = 3): Supervisor {
  const guest = startSupervisor([]);
  guest.cpu.translator.hotThreshold = 50;
  guest.ram.set(loop(body), loopAt);
  guest.ram.set(callee(3), calleeAt);
  assert.equal(run(guest), each * times);
  guest.cpu.jit.compilePending();
  assert.ok(guest.cpu.jit.statistics.callsInLine > 0, "the call is in line");
  assert.equal(run(guest), each * times);
  return guest;
}

describe("a region with a call in line", () => {
  it("calls what is mapped now, not what was", () => {
    const guest = heated();
    guest.ram.set(callee(5), 0x30_5040);
    guest.words[pageTable / 8 + 0x103] = 0x30_5003n;
    guest.cpu.invalidatePage(BigInt(calleePage));
    assert.equal(run(guest), 5 * times);
    guest.words[pageTable / 8 + 0x103] = 0x30_3003n;
    guest.cpu.invalidatePage(BigInt(calleePage));
    assert.equal(run(guest), 3 * times);
  });

  it("sees what a device writes into the callee", () => {
    const guest = heated();
    guest.machine.memory.copyIn(calleeAt + 2, Uint8Array.of(7));
    assert.equal(run(guest), 7 * times);
    assert.ok(guest.cpu.translator.statistics.regionsDropped > 0);
  });

  it("sees what it writes into the callee itself", () => {
    // cmp ecx, 100; jne over; mov byte [calleeAt + 2], 3
    const write = [0xc6, 0x04, 0x25, ...le32(calleeAt + 2), 3];
    const body = [0x83, 0xf9, 100, 0x75, write.length, ...write];
    const guest = startSupervisor([]);
    guest.cpu.translator.hotThreshold = 50;
    guest.ram.set(loop(body), loopAt);
    for (let round = 0; round < 4; round++) {
      guest.machine.memory.copyIn(calleeAt, Uint8Array.from(callee(9)));
      assert.equal(run(guest), 9 * (times - 99) + 3 * 99);
      guest.cpu.jit.compilePending();
    }
    assert.ok(guest.cpu.jit.statistics.callsInLine > 0, "the call is in line");
  });

  it("returns to where the callee's stack says", () => {
    const guest = heated([0x90, 0xff, 0xc0], 4); // nop; inc eax: skipped by the callee below
    // add qword [rsp], 1 skips the nop, 3 also the inc
    for (const [skip, each] of [
      [1, 1],
      [3, 0],
    ] as const) {
      const code = [0x48, 0x83, 0x04, 0x24, skip, 0xc3];
      guest.machine.memory.copyIn(calleeAt, Uint8Array.from(code));
      for (let round = 0; round < 2; round++) {
        assert.equal(run(guest), each * times);
        guest.cpu.jit.compilePending();
      }
    }
  });

  it("names the callee's instruction in a page fault", () => {
    const guest = heated();
    // mov al, [rbx]; ret
    guest.machine.memory.copyIn(calleeAt, Uint8Array.of(0x8a, 0x03, 0xc3));
    guest.registers.setGpr(3, 0x30_7000n);
    run(guest);
    guest.cpu.jit.compilePending();
    run(guest);
    guest.words[pageTable / 8 + 0x107] = 0n;
    guest.cpu.invalidatePage(0x30_7000n);
    run(guest);
    const frame = Number(guest.registers.gpr(4)) / 8;
    assert.equal(guest.words[frame + 1], BigInt(calleeAt));
    assert.equal(guest.vcpu.getRegisters().system.cr2, 0x30_7000n);
  });

  it("is dropped with all others when they are too much, and found again", () => {
    const guest = heated();
    const { jit, translator } = guest.cpu;
    jit.bytesLimit = 1;
    const regions = jit.statistics.regions;
    guest.machine.memory.copyIn(loopAt + 3, Uint8Array.from(le32(times))); // asks for a new run
    assert.equal(run(guest), 3 * times);
    assert.ok(translator.statistics.flushes > 0);
    jit.bytesLimit = 1 << 20;
    jit.compilePending();
    assert.equal(run(guest), 3 * times);
    assert.ok(jit.statistics.regions > regions);
  });
});

describe("a region with a jump into a loop", () => {
  it("is compiled, and leaves where no structure leads", () => {
    // xor eax, eax; mov ecx, times; test bl, 1; jnz middle
    // top: inc eax; middle: add eax, 2; dec ecx; jnz top; hlt
    const guest = startSupervisor([]);
    const { jit, translator } = guest.cpu;
    translator.hotThreshold = 50;
    const before = [0x31, 0xc0, 0xb9, 5, 0, 0, 0, 0xf6, 0xc3, 1, 0x75, 2];
    guest.ram.set(
      [...before, 0xff, 0xc0, 0x83, 0xc0, 2, 0xff, 0xc9, 0x75, -9 & 0xff, 0xf4],
      loopAt,
    );
    for (let round = 0; round < 200; round++) {
      guest.registers.setGpr(3, BigInt(round & 1));
      assert.equal(run(guest), round & 1 ? 14 : 15);
      if (round === 100) jit.compilePending();
    }
    assert.ok(jit.statistics.irreducible > 0, "both ways into the loop are in one region");
  });
});

describe("a thread that compiles", () => {
  type Beside = ReturnType<typeof startBeside>;

  /** Hot, and asked for. */
  function heat(guest: Beside): void {
    guest.cpu.translator.hotThreshold = 50;
    guest.ram.set(loop(), loopAt);
    guest.ram.set(callee(3), calleeAt);
    assert.equal(run(guest), 3 * times);
  }

  async function untilCompiled({ cpu: { jit } }: Beside): Promise<void> {
    for (let turn = 0; jit.statistics.modules === 0; turn++) {
      assert.ok(turn < 2000, "a module comes within 20 s");
      await new Promise((resolve) => setTimeout(resolve, 10));
      jit.poll();
    }
  }

  it("gives regions that run as the interpreter did", async () => {
    const guest = startBeside();
    heat(guest);
    await untilCompiled(guest);
    const { jit } = guest.cpu;
    assert.ok(jit.statistics.regions > 0);
    assert.ok(jit.statistics.callsInLine > 0, "heat is seen from the other thread");
    assert.equal(run(guest), 3 * times);
    await guest.thread.end();
  });

  it("links nothing that has changed while it compiled", async () => {
    const guest = startBeside();
    heat(guest);
    guest.machine.memory.copyIn(calleeAt + 2, Uint8Array.of(7));
    await untilCompiled(guest);
    assert.equal(run(guest), 7 * times);
    assert.equal(run(guest), 7 * times);
    await guest.thread.end();
  });

  it("is not believed when everything was dropped meanwhile", async () => {
    const guest = startBeside();
    heat(guest);
    guest.cpu.forgetTranslations();
    await guest.thread.ready;
    assert.equal(run(guest), 3 * times);
    await untilCompiled(guest);
    assert.equal(run(guest), 3 * times);
    await guest.thread.end();
  });
});
