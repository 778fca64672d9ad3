import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { state } from "../../../vmm-sandbox/translator/state.ts";
import type { SoftwareVcpu } from "../../../vmm-sandbox/translator/vcpu.ts";
import { prepareLinux } from "./boot-linux.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";
const missing = [kernelFile, busybox].filter((file) => !existsSync(file));

const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo "arch $(/bin/busybox uname -m)"
i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; /bin/busybox echo "loop $i"
/bin/busybox echo "sum $(/bin/busybox sha256sum /bin/busybox)"
/bin/busybox awk 'BEGIN { x = 1; for (i = 0; i < 10; i++) x = x * 1.5; printf "power %.4f\\n", x }'
/bin/busybox poweroff -f
`;

interface Tweak {
  readonly hotThreshold: number;
  readonly prepare?: (vcpu: SoftwareVcpu) => void;
}

async function run({ hotThreshold, prepare }: Tweak): Promise<string> {
  const { createHash } = await import("node:crypto");
  const program = readFileSync(busybox);
  let output = "";
  const { machine, vcpu } = prepareLinux({
    kernel: readFileSync(kernelFile),
    initrd: encodeInitramfs([
      { path: "bin", type: "directory" },
      { path: "proc", type: "directory" },
      { path: "dev", type: "directory" },
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "bin/busybox", type: "file", data: program, mode: 0o755 },
      { path: "init", type: "file", data: new TextEncoder().encode(init), mode: 0o755 },
    ]),
    commandLine: "console=ttyS0 quiet panic=-1 reboot=k mitigations=off",
    ramBytes: 192 << 20,
    onOutput: (byte) => {
      output += String.fromCharCode(byte);
    },
  });
  vcpu.cpu.translator.hotThreshold = hotThreshold;
  prepare?.(vcpu);
  assert.deepEqual(vcpu.run(), { reason: "kicked" }, output);
  assert.ok(machine.stopReason?.kind === "power-off" || machine.stopReason?.kind === "reset");
  assert.match(output, /arch x86_64/);
  assert.match(output, /loop 300/);
  assert.match(output, new RegExp(`sum ${createHash("sha256").update(program).digest("hex")}`));
  assert.match(output, /power 57\.6650/);
  assert.deepEqual([...vcpu.cpu.statistics.undefined], []);
  return output;
}

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

describe("Linux on the software CPU", function () {
  this.timeout(120_000);
  for (const [tier, threshold] of [
    ["both tiers", 200],
    ["the interpreter alone", 2 ** 30],
  ] as const)
    it(`boots to a shell and powers off on ${tier}`, async function () {
      if (missing.length > 0) {
        console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
        this.skip();
      }
      await run({ hotThreshold: threshold });
    });

  for (const [tier, threshold] of [
    ["both tiers", 200],
    ["the interpreter alone", 2 ** 30],
  ] as const)
    it(`boots while an interrupt comes in at every block of code on ${tier}`, async function () {
      this.timeout(600_000);
      if (missing.length > 0) {
        console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
        this.skip();
      }
      let injected = 0;
      const prepare = (vcpu: SoftwareVcpu) => {
        injected = 0;
        interruptEveryBlock(vcpu, () => injected++);
      };
      await run({ hotThreshold: threshold, prepare });
      assert.ok(injected > 20_000, `${injected} interrupts`);
    });
});
