/**
 * `npm run test:cpu-interrupts`: Linux boots while a timer interrupt comes in at the first instruction
 * of every block of code where it may, on the interpreter and with compiled regions. Takes minutes.
 */
import assert from "node:assert/strict";
import { state } from "../../../vmm-sandbox/translator/state.ts";
import type { SoftwareVcpu } from "../../../vmm-sandbox/translator/vcpu.ts";
import { missing, runLinux } from "./run-linux.ts";

const LVT_TIMER = 0x320;
const [MASKED, INTERRUPTS_ENABLED] = [0x1_0000, 0x200];

/**
 * A timer interrupt more, at the first instruction of each block where interrupts are allowed, once;
 * the kernel takes it as an early one. Which blocks and so which interrupts depends on the guest alone.
 */
function interruptEveryBlock({ cpu }: SoftwareVcpu, onInterrupt: () => void): void {
  const seen = new Set<bigint>();
  const tick = cpu.apic.tick.bind(cpu.apic);
  cpu.fuelSlice = 1;
  cpu.apic.tick = (now) => {
    tick(now);
    const timer = cpu.apic.read(LVT_TIMER);
    const allowed = (cpu.registers.get32(state.eflags) & INTERRUPTS_ENABLED) !== 0;
    if (!allowed || (timer & MASKED) !== 0 || seen.has(cpu.registers.rip)) return;
    seen.add(cpu.registers.rip);
    cpu.apic.request(timer & 0xff);
    onInterrupt();
  };
}

describe("Linux on the software CPU, interrupted at every block of code", function () {
  this.timeout(1_200_000);
  for (const [tier, hotThreshold] of [
    ["the interpreter alone", 2 ** 30],
    ["both tiers", 1000],
  ] as const)
    it(`boots to a shell and powers off on ${tier}`, async function () {
      if (missing.length > 0) {
        console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
        this.skip();
      }
      let injected = 0;
      const prepare = (vcpu: SoftwareVcpu) => interruptEveryBlock(vcpu, () => injected++);
      await runLinux({ hotThreshold, prepare });
      console.log(`      ${injected} interrupts`);
      assert.ok(injected > 15_000, `${injected} interrupts`);
    });
});
