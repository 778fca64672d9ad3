/**
 * A Debian guest with a KVM that has hardware behind it (emulated), for benches of machines on KVM:
 * what runs in it is compared with what else runs in it, never with times of this machine.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installPackages } from "../scripts/apt-packages.ts";
import { buildDebianGuest, packFolder } from "../scripts/debian-guest/build.ts";
import { runInDebianGuest } from "../scripts/debian-guest/run.ts";

export const guestKernels = ".cache/guest-kernel/current";

export interface NestedRun {
  /** Fills the folder that the guest sees as /project. */
  readonly stage: (folder: string) => void;
  /** Lines of /bin/sh, in /project, with /dev/kvm there. */
  readonly command: string;
  /** Lines of output that begin with this are `onResult`'s, without it. */
  readonly mark: string;
  readonly onResult: (text: string) => void;
}

const SCRIPT = "nested.sh";
const packages = ["busybox-static", "passt", "qemu-system-x86"];
const memoryMiB = 2560;
const timeoutMs = 30 * 60_000;
const silenceMs = 15 * 60_000;

export async function runNested({ stage, command, mark, onResult }: NestedRun): Promise<void> {
  const missing = installPackages("debian-guest");
  if (missing.length > 0)
    throw new Error(`Cannot build a guest without ${missing.map(({ name }) => name).join(", ")}`);
  if (!existsSync(guestKernels))
    throw new Error('Expected the guest kernel: run "npm run guest:kernel" first');
  const guest = await buildDebianGuest(packages);
  const folder = mkdtempSync(join(tmpdir(), "manyworlds-nested-"));
  try {
    const staged = join(folder, "project");
    mkdirSync(staged);
    stage(staged);
    writeFileSync(join(staged, SCRIPT), `modprobe kvm_amd && cd /project && ${command}\n`);
    const project = join(folder, "project.erofs");
    await packFolder(staged, project);
    const status = await runInDebianGuest(guest, {
      command: `/bin/sh /project/${SCRIPT}`,
      project,
      memoryMiB,
      cpus: 1,
      timeoutMs,
      silenceMs,
      onLine: (line) => {
        if (!line.startsWith(mark)) return false;
        onResult(line.slice(mark.length));
        return true;
      },
    });
    if (status !== 0) throw new Error(`The bench in the guest ended with ${status}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
