/**
 * Guests for the tests in this folder: kernels, busybox, an image, and how to run a shell in them.
 *
 * They need a processor with vmx or svm (`npm run test:kvm` emulates one) and kernels: GUEST_VMLINUX
 * and GUEST_BZIMAGE of `npm run guest:kernel`, GUEST_DEBIAN, a folder with vmlinuz and the modules of
 * Debian's cloud kernel.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bufferedImageFile, ErofsBuilder, TarReader } from "../../../image/erofs/index.ts";
import type { Row } from "../../../linux/index.ts";
import { planModules } from "../../../vmm-sandbox/guest/kernel-modules.ts";
import {
  type GuestKernel,
  type GuestProcess,
  KvmBackend,
  type Sandbox,
  type SandboxConfig,
  startGuestProcess,
  startSandbox,
} from "../../../vmm-sandbox/index.ts";

export const MiB = 2 ** 20;
export const busybox = "/bin/busybox";
export const kernels = {
  "our vmlinux (PVH)": process.env["GUEST_VMLINUX"] ?? ".cache/guest-kernel/current/vmlinux",
  "our bzImage (64-bit)": process.env["GUEST_BZIMAGE"] ?? ".cache/guest-kernel/current/bzImage",
  "Debian's cloud kernel": process.env["GUEST_DEBIAN"] ?? ".cache/debian-kernel",
} as const;
export const ourKernel = kernels["our vmlinux (PVH)"];

/** What Debian has as modules and these tests use. */
const wanted = [
  "virtio_mmio",
  "virtio_console",
  "virtio_blk",
  "virtio_rng",
  "vmw_vsock_virtio_transport",
  "erofs",
  "overlay",
];

/** Why no test of this folder can run here, if so. */
export function whyNoGuests(): string | undefined {
  if (!/\b(vmx|svm)\b/.test(readFileSync("/proc/cpuinfo", "utf8")))
    return "this processor shows neither vmx nor svm: run `npm run test:kvm`";
  return existsSync(busybox) ? undefined : `no ${busybox} (Debian's busybox-static)`;
}

/** Skips a suite, saying why, when it has no processor or no kernel. */
export function skipWithout(context: Mocha.Context, kernel: string = ourKernel): void {
  const why = whyNoGuests() ?? (existsSync(kernel) ? undefined : `no kernel at "${kernel}"`);
  if (why === undefined) return;
  console.log(`    skipped: ${why}`);
  context.skip();
}

export function readKernel(path: string): GuestKernel {
  if (!existsSync(join(path, "vmlinuz"))) return { image: readFileSync(path), modules: [] };
  const text = (name: string) => readFileSync(join(path, "modules", name), "utf8");
  const paths = planModules(wanted, text("modules.dep"), text("modules.builtin"));
  return {
    image: readFileSync(join(path, "vmlinuz")),
    modules: paths.map((file) => ({
      name: file.slice(file.lastIndexOf("/") + 1, -3),
      bytes: readFileSync(join(path, "modules", file)),
    })),
  };
}

export async function boot(
  path: string = ourKernel,
  config: Partial<SandboxConfig> = {},
  cpus = 1,
): Promise<Sandbox> {
  return await startSandbox({
    backend: new KvmBackend({ memorySizeBytes: 256 * MiB, cpus }),
    kernel: readKernel(path),
    files: [{ path: "busybox", type: "file", mode: 0o755, data: readFileSync(busybox) }],
    ...config,
  });
}

/** Mounts that a launch would bring along. */
export async function mountKernelFiles({ kernel }: Sandbox): Promise<void> {
  const { failure } = await kernel.run({
    rows: [
      { call: "mount", args: ["dev", "/dev", "devtmpfs", 0, 0], ignore: ["EBUSY"] },
      { call: "mkdir", args: ["/dev/pts", 0o755], ignore: ["EEXIST"] },
      { call: "mount", args: ["pts", "/dev/pts", "devpts", 0, "ptmxmode=666"] },
      { call: "mount", args: ["proc", "/proc", "proc", 0, 0] },
      { call: "mount", args: ["sys", "/sys", "sysfs", 0, 0] },
    ],
  });
  assert.equal(failure, undefined);
}

export const shell = (script: string): Row => ({
  call: "execve",
  args: ["/busybox", { strings: ["sh", "-c", script] }, { strings: ["PATH=/"] }],
});

export async function startShell(sandbox: Sandbox, script: string): Promise<GuestProcess> {
  return await startGuestProcess(sandbox.kernel, sandbox.host, {
    rows: [shell(script)],
    terminal: false,
  });
}

export async function runShell(sandbox: Sandbox, script: string, input = "") {
  const process = await startShell(sandbox, script);
  const writer = process.stdin.getWriter();
  await writer.write(Buffer.from(input));
  await writer.close();
  const [stdout, stderr, status] = await Promise.all([
    text(process.stdout),
    text(process.stderr),
    process.exited,
  ]);
  return { stdout, stderr, status };
}

export async function text(stream: ReadableStream<Uint8Array> | undefined): Promise<string> {
  let all = "";
  if (stream !== undefined) for await (const bytes of stream) all += Buffer.from(bytes).toString();
  return all;
}

/** An image of busybox and a file, as an EROFS written from a tar archive. */
export function packImage(folder: string): Uint8Array {
  const tree = join(folder, "tree");
  for (const name of ["bin", "etc"]) mkdirSync(join(tree, name), { recursive: true });
  writeFileSync(join(tree, "bin/busybox"), readFileSync(busybox));
  chmodSync(join(tree, "bin/busybox"), 0o4755);
  for (const name of ["cat", "mkdir", "mount", "grep", "stat"])
    symlinkSync("busybox", join(tree, "bin", name));
  writeFileSync(join(tree, "etc/motd"), "from the image\n");
  const tar = execFileSync(busybox, ["tar", "-cf", "-", "-C", tree, "."], { maxBuffer: 64 * MiB });
  const image = join(folder, "packed");
  const file = openSync(image, "w");
  const builder = new ErofsBuilder(bufferedImageFile(file));
  builder.beginLayer();
  const reader = new TarReader(builder);
  reader.push(tar);
  reader.finish();
  builder.finish("test");
  closeSync(file);
  return readFileSync(image);
}

/** Runs the work with a folder that is gone afterwards. */
export async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "guest-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
