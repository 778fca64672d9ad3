/** Boots Linux to a shell script whose output is checked, on this thread. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import type { SoftwareVcpu } from "../../../vmm-sandbox/translator/vcpu.ts";
import { type LinuxBoot, prepareLinux } from "./boot-linux.ts";

const kernelFile = process.env["MANYWORLDS_GUEST_KERNEL"] ?? ".cache/guest-kernel/current/bzImage";
const busybox = "/bin/busybox";
/** What a boot needs and is not there. */
export const missing = [kernelFile, busybox].filter((file) => !existsSync(file));

export const init = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo "arch $(/bin/busybox uname -m)"
i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; /bin/busybox echo "loop $i"
/bin/busybox echo "sum $(/bin/busybox sha256sum /bin/busybox)"
/bin/busybox awk 'BEGIN { x = 1; for (i = 0; i < 10; i++) x = x * 1.5; printf "power %.4f\\n", x }'
/bin/busybox poweroff -f
`;

/** A machine whose init is this script of busybox. */
export function bootOf(script: string, ramBytes = 192 << 20): Omit<LinuxBoot, "onOutput"> {
  return {
    kernel: readFileSync(kernelFile),
    initrd: encodeInitramfs([
      { path: "bin", type: "directory" },
      { path: "proc", type: "directory" },
      { path: "dev", type: "directory" },
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "bin/busybox", type: "file", data: readFileSync(busybox), mode: 0o755 },
      { path: "init", type: "file", data: new TextEncoder().encode(script), mode: 0o755 },
    ]),
    commandLine: "console=ttyS0 quiet panic=-1 reboot=k mitigations=off",
    ramBytes,
  };
}

export interface Tweak {
  readonly hotThreshold: number;
  readonly prepare?: (vcpu: SoftwareVcpu) => void;
}

/** Throws when anything printed is not as it should be. */
export async function runLinux({ hotThreshold, prepare }: Tweak): Promise<string> {
  const { createHash } = await import("node:crypto");
  const program = readFileSync(busybox);
  let output = "";
  const { machine, vcpu } = prepareLinux({
    ...bootOf(init),
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
