/**
 * Our monitor as a command for the bench, in the nested guest: boots a kernel and an initrd with the
 * console on standard output, or with our agent and a process from its first root.
 *
 *   ours.ts plain KERNEL INITRD CMDLINE       as QEMU is started
 *   ours.ts agent KERNEL PROGRAM              the way of a container: confined, agent, process
 *   ours.ts warm KERNEL PROGRAM SNAPSHOT      the same from a snapshot, which the first start makes
 *
 * Times go to standard error, in milliseconds since the process started.
 */
import { existsSync, openSync, readFileSync } from "node:fs";
import {
  KvmBackend,
  mapWholeFile,
  runMonitor,
  type SnapshotConfig,
  startConfinedSandbox,
  startGuestProcess,
  Vm,
} from "../../vmm-sandbox/index.ts";
import { GUEST_MEMORY_BYTES } from "./protocol.ts";

const [, , mode = "", kernelPath = "", second = "", third = ""] = process.argv;
const mark = (phase: string) => {
  process.stderr.write(`${phase} ${performance.now().toFixed(2)}\n`);
};

if (mode === "vm-monitor") await runMonitor(Number(kernelPath));
else {
  mark("monitor");
  if (mode === "plain") await bootPlain();
  else await bootWithAgent(mode === "warm" ? openSnapshot(third) : undefined);
}
process.exit(0);

async function bootPlain(): Promise<void> {
  const vm = await createPlain();
  mark("set-up");
  await vm.run();
}

async function createPlain(): Promise<Vm> {
  const backend = new KvmBackend({ memorySizeBytes: GUEST_MEMORY_BYTES, cpus: 1 });
  using kernel = mapWholeFile(kernelPath);
  return await Vm.create({
    backend,
    kernel: kernel.bytes,
    initrd: readFileSync(second),
    commandLine: third,
    onConsole: (bytes) => void process.stdout.write(bytes),
  });
}

/** One kernel and one build: any key will do. */
function openSnapshot(path: string): SnapshotConfig {
  const kind = existsSync(path) ? "restore" : "save";
  return { kind, fd: openSync(path, kind === "save" ? "wx+" : "r"), key: Buffer.alloc(32, 1) };
}

async function bootWithAgent(snapshot: SnapshotConfig | undefined): Promise<void> {
  const sandbox = await startConfinedSandbox({
    cpu: "kvm",
    cpus: 1,
    memorySizeBytes: GUEST_MEMORY_BYTES,
    kernel: kernelPath,
    ...(snapshot !== undefined && { snapshot }),
    files: [{ path: "program", type: "file", mode: 0o755, data: readFileSync(second) }],
  });
  mark("agent");
  const started = await startGuestProcess(sandbox.kernel, sandbox.host, {
    terminal: false,
    rows: [{ call: "execve", args: ["/program", { strings: ["program"] }, { strings: [] }] }],
  });
  mark("launched");
  for await (const bytes of started.stdout) process.stdout.write(bytes);
}
