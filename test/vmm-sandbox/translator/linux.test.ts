import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
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

async function run(hotThreshold: number): Promise<string> {
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
  assert.deepEqual(vcpu.run(), { reason: "kicked" }, output);
  assert.ok(machine.stopReason?.kind === "power-off" || machine.stopReason?.kind === "reset");
  assert.match(output, /arch x86_64/);
  assert.match(output, /loop 300/);
  assert.match(output, new RegExp(`sum ${createHash("sha256").update(program).digest("hex")}`));
  assert.match(output, /power 57\.6650/);
  assert.deepEqual([...vcpu.cpu.statistics.undefined], []);
  return output;
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
      await run(threshold);
    });
});
