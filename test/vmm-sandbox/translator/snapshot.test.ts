import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { prepareLinux } from "./boot-linux.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";
const missing = [kernelFile, busybox].filter((file) => !existsSync(file));

/** Timers, floating point and the shell's own children, all while being moved. */
const init = `#!/bin/busybox sh
for i in 1 2 3 4 5 6 7 8; do
  /bin/busybox usleep 30000
  /bin/busybox awk "BEGIN { x = 1; for (j = 0; j < 200 * $i; j++) x = x * 1.01; printf \\"$i %.6g\\\\n\\", x }"
done
/bin/busybox sha256sum /bin/busybox
/bin/busybox poweroff -f
`;

/** Boots, moving to a fresh machine after every `step` bytes of console output. */
function boot(step: number): { readonly output: string; readonly moves: number } {
  let output = "";
  let next = step;
  let moves = 0;
  let kick = (): void => {};
  const options = {
    kernel: readFileSync(kernelFile),
    initrd: encodeInitramfs([
      { path: "bin", type: "directory" },
      { path: "dev", type: "directory" },
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "bin/busybox", type: "file", data: readFileSync(busybox), mode: 0o755 },
      { path: "init", type: "file", data: new TextEncoder().encode(init), mode: 0o755 },
    ]),
    commandLine: "console=ttyS0 panic=-1 reboot=k mitigations=off printk.time=0",
    ramBytes: 96 << 20,
    onOutput: (byte: number): void => {
      output += String.fromCharCode(byte);
      if (output.length < next) return;
      next += step;
      kick();
    },
  } as const;
  let here = prepareLinux(options);
  for (;;) {
    kick = () => here.vcpu.kick();
    assert.deepEqual(here.vcpu.run(), { reason: "kicked" }, output);
    if (here.machine.stopReason) break;
    const there = prepareLinux(options);
    const state = structuredClone({
      cpu: here.vcpu.save(),
      chips: here.ioApic.save(),
      serial: here.serial.save(),
    });
    const { memory } = here.machine;
    there.machine.memory.copyIn(0, memory.copyOut(0, memory.sizeBytes));
    there.ioApic.restore(state.chips);
    there.vcpu.restore(state.cpu);
    there.serial.restore(state.serial);
    here = there;
    moves++;
  }
  assert.equal(here.machine.stopReason?.kind, "power-off", output);
  return { output, moves };
}

/** What differs between two boots of one machine: times and addresses. */
function comparable(output: string): readonly string[] {
  const end = output.slice(output.indexOf("Run /init"));
  return end.split("\n").filter((line) => /^\d |^[0-9a-f]{64}/.test(line));
}

describe("a software CPU saved and restored", function () {
  this.timeout(180_000);
  it("boots Linux and runs programs across many moves as it does without", function () {
    if (missing.length > 0) {
      console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
      this.skip();
    }
    const plain = boot(Number.POSITIVE_INFINITY);
    const moved = boot(700);
    assert.equal(comparable(plain.output).length, 9, plain.output);
    assert.deepEqual(comparable(moved.output), comparable(plain.output));
    assert.ok(moved.moves >= 8, `${moved.moves} moves`);
  });
});
