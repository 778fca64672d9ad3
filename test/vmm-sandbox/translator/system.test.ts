import assert from "node:assert/strict";
import { state } from "../../../vmm-sandbox/translator/state.ts";
import { codeAt, handlerAt, startSupervisor as start } from "./supervisor.ts";

describe("the software CPU as a system", () => {
  it("delivers a page fault with error code, CR2 and the faulting RIP", () => {
    // mov rax, 0x305123; mov [rax], rbx
    const { vcpu, words, registers } = start([
      0x48, 0xb8, 0x23, 0x51, 0x30, 0, 0, 0, 0, 0, 0x48, 0x89, 0x18, 0xf4,
    ]);
    words[0x4000 / 8 + 0x105] = 0n;
    assert.deepEqual(vcpu.run(), { reason: "halt" });
    assert.equal(vcpu.getRegisters().system.cr2, 0x30_5123n);
    const frame = Number(registers.gpr(4)) / 8;
    assert.equal(words[frame], 2n, "error code: a supervisor's write to a page not present");
    assert.equal(words[frame + 1], BigInt(codeAt + 10), "RIP of the store");
  });

  it("sets accessed and dirty bits, and dirty only on a write", () => {
    // mov rax, [0x300000]; mov [0x301000], rax; hlt
    const { vcpu, words } = start([
      0x48, 0x8b, 0x04, 0x25, 0, 0, 0x30, 0, 0x48, 0x89, 0x04, 0x25, 0, 0x10, 0x30, 0, 0xf4,
    ]);
    vcpu.run();
    assert.equal((words[0x4000 / 8 + 0x100] ?? 0n) & 0x60n, 0x20n);
    assert.equal((words[0x4000 / 8 + 0x101] ?? 0n) & 0x60n, 0x60n);
  });

  it("sees a store into the instruction right after it", () => {
    // mov byte [rip + 0], 0x90 (over the hlt that follows); hlt; mov eax, 7; hlt
    const { vcpu, registers } = start([0xc6, 0x05, 0, 0, 0, 0, 0x90, 0xf4, 0xb8, 7, 0, 0, 0, 0xf4]);
    vcpu.run();
    assert.equal(registers.gpr(0), 7n);
  });

  it("runs code again after a device wrote over it", () => {
    const { machine, vcpu, registers } = start([0xb8, 1, 0, 0, 0, 0xf4]);
    vcpu.run();
    assert.equal(registers.gpr(0), 1n);
    machine.memory.copyIn(codeAt + 1, Uint8Array.of(2));
    registers.rip = BigInt(codeAt);
    vcpu.cpu.halted = false;
    vcpu.run();
    assert.equal(registers.gpr(0), 2n);
  });

  it("runs an instruction that crosses into a page mapped elsewhere", () => {
    // At 0x302ffe: mov eax, imm32, three bytes of it on the next page, which is remapped.
    const { vcpu, cpu, ram, words, registers } = start([]);
    ram.set([0xb8, 0x11], 0x30_2ffe);
    ram.set([0x22, 0x33, 0x44, 0xf4], 0x30_3000);
    ram.set([0x55, 0x66, 0x77, 0xf4], 0x30_4000);
    registers.rip = 0x30_2ffen;
    vcpu.run();
    assert.equal(registers.gpr(0), 0x4433_2211n);
    words[0x4000 / 8 + 0x103] = 0x30_4003n;
    cpu.invalidatePage(0x30_3000n);
    cpu.halted = false;
    registers.rip = 0x30_2ffen;
    vcpu.run();
    assert.equal(registers.gpr(0), 0x7766_5511n);
  });

  it("waits in HLT without running and wakes for the TSC deadline", () => {
    // LVT timer = deadline mode, vector 0x40; deadline = rdtsc + 400 ms; sti; hlt; hlt
    const { vcpu, cpu, registers } = start([
      0xb9,
      0x0f,
      0x08,
      0,
      0,
      0xb8,
      0xff,
      0x01,
      0,
      0,
      0x31,
      0xd2,
      0x0f,
      0x30, // SVR: enable
      0xb9,
      0x32,
      0x08,
      0,
      0,
      0xb8,
      0x40,
      0,
      0x04,
      0,
      0x31,
      0xd2,
      0x0f,
      0x30,
      0x0f,
      0x31,
      0x48,
      0xc1,
      0xe2,
      0x20,
      0x48,
      0x09,
      0xd0,
      0x48,
      0x05,
      0x00,
      0x84,
      0xd7,
      0x17, // + 400 000 000
      0x48,
      0x89,
      0xc2,
      0x48,
      0xc1,
      0xea,
      0x20,
      0xb9,
      0xe0,
      0x06,
      0,
      0,
      0x0f,
      0x30,
      0xfb,
      0xf4,
      0xf4,
    ]);
    const before = process.cpuUsage();
    const begin = performance.now();
    assert.deepEqual(vcpu.run(), { reason: "halt" });
    assert.ok(performance.now() - begin >= 399);
    const used = process.cpuUsage(before);
    // The engines' own compiler threads run meanwhile; spinning would take all of the time.
    assert.ok(used.user + used.system < 300_000, "HLT must not spin");
    assert.equal(registers.rip, BigInt(handlerAt + 1), "in the handler");
    assert.equal(cpu.statistics.interrupts, 1);
  });

  it("takes SYSCALL to LSTAR and comes back with SYSRET to user mode", () => {
    const { vcpu, cpu, words, ram, registers } = start([]);
    for (const at of [0x1000, 0x2000]) words[at / 8] = (words[at / 8] ?? 0n) | 4n;
    words[0x3000 / 8 + 1] = (words[0x3000 / 8 + 1] ?? 0n) | 4n;
    for (const page of [0x105, 0x106])
      words[0x4000 / 8 + page] = (words[0x4000 / 8 + page] ?? 0n) | 4n;
    registers.set64(state.star, (0x18n << 48n) | (0x10n << 32n));
    registers.set64(state.lstar, BigInt(handlerAt + 16));
    registers.set64(state.sfmask, 0x200n);
    ram.set([0xf4], handlerAt + 16);
    ram.set([0x0f, 0x05], 0x30_5000); // syscall
    registers.setGpr(1, 0x30_5000n);
    registers.setGpr(11, 0x202n);
    ram.set([0x48, 0x0f, 0x07], codeAt); // sysretq
    assert.deepEqual(vcpu.run(), { reason: "halt" });
    assert.equal(registers.gpr(1), 0x30_5002n, "RCX: after the syscall");
    assert.equal(registers.cpl, 0);
    assert.equal(
      cpu.statistics.exceptions.reduce((a, b) => a + b),
      0,
    );
  });

  it("keeps user code out of supervisor pages", () => {
    const { vcpu, words, ram, registers } = start([]);
    for (const at of [0x1000, 0x2000]) words[at / 8] = (words[at / 8] ?? 0n) | 4n;
    words[0x3000 / 8 + 1] = (words[0x3000 / 8 + 1] ?? 0n) | 4n;
    words[0x4000 / 8 + 0x105] = (words[0x4000 / 8 + 0x105] ?? 0n) | 4n;
    ram.set([0x48, 0x8b, 0x04, 0x25, 0, 0x60, 0x30, 0], 0x30_5000); // mov rax, [0x306000]
    registers.setGpr(1, 0x30_5000n);
    registers.set64(state.star, 0x18n << 48n);
    ram.set([0x48, 0x0f, 0x07], codeAt);
    // No TSS: delivering the fault cannot find a stack, so the machine shuts down.
    assert.deepEqual(vcpu.run(), { reason: "shutdown" });
    assert.equal(vcpu.getRegisters().system.cr2, 0x30_6000n);
  });

  it("traps after each instruction while TF is set, and says so in DR6", () => {
    // pushf; or dword [rsp], 0x100; popf; inc eax; inc eax; hlt
    const { vcpu, words, registers } = start([
      0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0xff, 0xc0, 0xff, 0xc0, 0xf4,
    ]);
    assert.deepEqual(vcpu.run(), { reason: "halt" });
    assert.equal(registers.gpr(0), 1n);
    const frame = Number(registers.gpr(4)) / 8;
    assert.equal(words[frame], BigInt(codeAt + 11), "RIP after the first INC");
    assert.equal((registers.debug[6] ?? 0n) & 0x4000n, 0x4000n);
  });

  it("breaks before an instruction and after a write that a debug register watches", () => {
    for (const [what, control, address, rip] of [
      ["execution", 1n, BigInt(codeAt + 8), codeAt + 8],
      ["a write", 1n | (1n << 16n) | (3n << 18n), 0x30_0000n, codeAt + 8],
    ] as const) {
      // mov [0x300000], rax; inc eax; hlt
      const { vcpu, words, registers } = start([
        0x48, 0x89, 0x04, 0x25, 0, 0, 0x30, 0, 0xff, 0xc0, 0xf4,
      ]);
      registers.debug[0] = address;
      registers.debug[7] = control | 0x400n;
      assert.deepEqual(vcpu.run(), { reason: "halt" });
      assert.equal(words[Number(registers.gpr(4)) / 8], BigInt(rip), what);
      assert.equal((registers.debug[6] ?? 0n) & 15n, 1n, what);
      assert.equal(registers.gpr(0), 0n);
    }
  });

  it("raises #NM for SSE while CR0.TS is set", () => {
    // xorps xmm0, xmm0; hlt
    const { vcpu, words, registers } = start([0x0f, 0x57, 0xc0, 0xf4]);
    registers.set64(state.cr0, 0x8001_003bn);
    assert.deepEqual(vcpu.run(), { reason: "halt" });
    assert.equal(vcpu.cpu.statistics.exceptions[7], 1);
    assert.equal(words[Number(registers.gpr(4)) / 8], BigInt(codeAt));
  });

  it("raises #XM for an unmasked SSE exception, destination unchanged, and #UD without an OS for it", () => {
    for (const [cr4, vector] of [
      [0x620n, 19],
      [0x220n, 6],
    ] as const) {
      // ldmxcsr [0x300000]; divss xmm0, xmm1; hlt
      const { vcpu, words, registers } = start([
        0x0f, 0xae, 0x14, 0x25, 0, 0, 0x30, 0, 0xf3, 0x0f, 0x5e, 0xc1, 0xf4,
      ]);
      registers.set64(state.cr4, cr4);
      words[0x30_0000 / 8] = 0x1d80n; // divide-by-zero unmasked
      registers.set64(state.xmm, 0x3f80_0000n);
      assert.deepEqual(vcpu.run(), { reason: "halt" });
      assert.equal(vcpu.cpu.statistics.exceptions[vector], 1);
      assert.equal(words[Number(registers.gpr(4)) / 8], BigInt(codeAt + 8));
      assert.equal(registers.get64(state.xmm), 0x3f80_0000n);
      assert.equal(registers.get32(state.mxcsr), 0x1d84);
    }
  });
});
