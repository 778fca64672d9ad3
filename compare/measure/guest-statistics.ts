/**
 * What the software CPU counts while a guest boots and the probe works in it: above all the
 * instructions that made x86 hard to virtualise. A machine in this process, so that it can be asked.
 */
import { readFileSync } from "node:fs";
import { type CpuReport, SoftwareBackend, Vm } from "../../vmm-sandbox/index.ts";
import { probeRoot } from "../first-root.ts";
import { type Work, workArguments } from "../probe.ts";

const MEMORY_BYTES = 256 * 1024 * 1024;
const work: Work = { names: ["syscall", "page fault", "fork+exec", "switch"], eachMs: 20 };

export async function guestStatistics(
  kernel: string,
  probe: string,
  timeoutMs: number,
): Promise<CpuReport> {
  const backend = new SoftwareBackend({ memorySizeBytes: MEMORY_BYTES });
  let said = "";
  await using vm = await Vm.create({
    backend,
    kernel: readFileSync(kernel),
    initrd: probeRoot(probe),
    commandLine: `console=ttyS0 loglevel=1 panic=-1 reboot=k -- ${workArguments(work, "/").join(" ")}`,
    onSerial: (byte) => {
      said += String.fromCharCode(byte);
    },
  });
  const timer = setTimeout(() => vm.machine.stop({ kind: "stopped" }), timeoutMs);
  await vm.run();
  clearTimeout(timer);
  if (!/^C \d/m.test(said)) throw new Error(`the guest did not finish: ${said.slice(-200)}`);
  return await backend.report();
}
