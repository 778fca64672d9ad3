/** How late a busy guest hears of its timer. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { prepareLinux } from "./boot-linux.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";

/** One process computes all the time, another wants to be woken every few milliseconds. */
const init = `#!/bin/busybox sh
(while :; do /bin/busybox sha1sum /bin/busybox > /dev/null; i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; done) &
i=0; while [ $i -lt 200 ]; do /bin/busybox usleep 3000; i=$((i+1)); done
/bin/busybox poweroff -f
`;

describe("timers of a busy guest on the software CPU", function () {
  this.timeout(180_000);

  it("fire within a millisecond of their time", function () {
    const missing = [kernelFile, busybox].filter((file) => !existsSync(file));
    if (missing.length > 0) {
      console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
      this.skip();
    }
    const late: number[] = [];
    const between: number[] = [];
    let output = "";
    const { machine, vcpu } = prepareLinux({
      kernel: readFileSync(kernelFile),
      initrd: encodeInitramfs([
        ...["bin", "dev", "tmp"].map((path) => ({ path, type: "directory" as const })),
        { path: "dev/console", type: "character", major: 5, minor: 1 },
        { path: "dev/null", type: "character", major: 1, minor: 3 },
        { path: "bin/busybox", type: "file", data: readFileSync(busybox), mode: 0o755 },
        { path: "init", type: "file", data: new TextEncoder().encode(init), mode: 0o755 },
      ]),
      commandLine: "console=ttyS0 quiet panic=-1 reboot=k",
      ramBytes: 128 << 20,
      onOutput: (byte) => {
        output += String.fromCharCode(byte);
      },
    });
    const { apic } = vcpu.cpu;
    const tick = apic.tick.bind(apic);
    let lastLook = process.cpuUsage();
    let compiled = 0;
    apic.tick = (now) => {
      const used = process.cpuUsage(lastLook);
      lastLook = process.cpuUsage();
      if (!vcpu.cpu.halted) {
        // What compiles here on this thread has one of its own in a machine.
        const compiling = vcpu.cpu.jit.statistics.milliseconds * 1000;
        between.push(Math.max(0, used.user + used.system - (compiling - compiled)));
        compiled = compiling;
        // In nanoseconds; while it sleeps, the host's own timers would be measured.
        if (now >= apic.deadline) late.push((now - apic.deadline) / 1000);
      }
      tick(now);
    };
    assert.deepEqual(vcpu.run(), { reason: "kicked" }, output);
    assert.equal(machine.stopReason?.kind, "power-off", output);
    console.log(`      ${late.length} timers, late by ${distribution(late)}`);
    console.log(`      ${between.length} looks, CPU time between ${distribution(between)}`);
    assert.ok(late.length > 100, `${late.length} timers`);
    // Wall time is the host's to give; what we owe is to look often while we run. The engine's own
    // threads compile meanwhile, and their time is in these figures, so only the median is held to.
    assert.ok(share(between, 0.5) < 1000, `${share(between, 0.5)} µs between two looks`);
  });
});

function share(values: readonly number[], part: number): number {
  return Math.round(values[Math.floor(values.length * part)] ?? 0);
}

/** Sorts, and says. */
function distribution(values: number[]): string {
  values.sort((a, b) => a - b);
  const [half, most, nearlyAll] = [0.5, 0.9, 0.99].map((part) => share(values, part));
  return `(µs) median ${half}, 90 % ${most}, 99 % ${nearlyAll}, longest ${Math.round(values.at(-1) ?? 0)}`;
}
