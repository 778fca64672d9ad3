/**
 * Runs as a confined monitor (confine.test.ts starts it): seals itself, then tries what its first
 * argument names and prints what came of it.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { Worker } from "node:worker_threads";
import { AF_UNIX, SOCK_STREAM, type SyscallName, syscall } from "../../../linux/index.ts";
import { sealMonitor } from "../../../vmm-sandbox/confine/index.ts";

const KVM_GET_API_VERSION = 0xae00;
const [PROT_READ, PROT_WRITE, PROT_EXEC] = [1, 2, 4];

const attempts: Readonly<Record<string, () => unknown>> = {
  "see the host": () => ({
    files: readdirSync("/").sort(),
    processes: readdirSync("/proc").filter((name) => /^\d/.test(name)),
    network: Object.keys(networkInterfaces()),
    status: readFileSync("/proc/self/status", "utf8").match(/^(Cap|NoNew).*$/gm),
    pid: process.pid,
    limits: readFileSync("/proc/self/limits", "utf8"),
  }),
  "write to the root": () => writeFileSync("/new", "x"),
  "read a secret": () => readFileSync("/etc/shadow", "utf8"),
  "work on": async () => {
    let sum = 0;
    for (let i = 0; i < 3_000_000; i++) sum = (sum * 31 + i) % 1_000_003; // hot enough for a JIT
    const worker = new Worker("require('node:worker_threads').parentPort.postMessage(1)", {
      eval: true,
    });
    const said = await new Promise((resolve) => worker.once("message", resolve));
    await new Promise((resolve) => setTimeout(resolve, 5));
    const memory = syscall("mmap", 0, 4096, PROT_READ | PROT_WRITE, 0x22, -1, 0);
    return { sum, said, code: syscall("mprotect", memory, 4096, PROT_READ | PROT_EXEC) };
  },
};
const call = (name: string, ...args: readonly string[]) =>
  syscall(name as SyscallName, ...args.map((arg) => (/^-?\d/.test(arg) ? Number(arg) : arg)));
const afterSeal: Readonly<Record<string, () => unknown>> = {
  ...attempts,
  socket: () => syscall("socket", AF_UNIX, SOCK_STREAM, 0),
  openat: () => syscall("openat", -100, "/proc/self/mem", 2, 0),
  ioctl: () => syscall("ioctl", 0, 0x5412, "x"), // TIOCSTI: types on the user's terminal
  "allowed ioctl": () => syscall("ioctl", 0, KVM_GET_API_VERSION, 0),
  kill: () => syscall("kill", -1, 9),
  "another process": () => syscall("clone", 17, 0, 0, 0, 0),
  "raise a limit": () => syscall("prlimit64", 0, 7, new Uint8Array(16), 0),
  "be traceable": () => syscall("prctl", 4, 1, 0, 0, 0),
  execve: () => call("execve", "/proc/self/exe", "0", "0"),
  ptrace: () => call("ptrace", "16", "1", "0", "0"),
  mount: () => call("mount", "x", "/", "tmpfs", "0", "0"),
  unshare: () => call("unshare", `${0x1000_0000}`),
};

const [, , stage, name = ""] = process.argv;
if (stage === "sealed") sealMonitor({ files: false, ioctls: [KVM_GET_API_VERSION] });
const attempt = (stage === "sealed" ? afterSeal : attempts)[name];
if (attempt === undefined) throw new Error(`No attempt "${name}"`);
let result: unknown;
try {
  result = await attempt();
} catch (error) {
  result = (error as NodeJS.ErrnoException).code ?? String(error);
}
process.stdout.write(`${JSON.stringify(result)}\n`);
