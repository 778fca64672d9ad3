/** PID 1 of the Debian guest's first root, as a syscall program: finds the disks, starts systemd. */
import { MS_MOVE, MS_RDONLY, type Program } from "../../linux/index.ts";
import { loadModules } from "../../vmm-sandbox/guest/kernel-modules.ts";

/** Tries to mount a disk, 20 ms apart: it may still be coming up. */
const attempts = 500;
const pause = new Uint8Array(16);
new DataView(pause.buffer).setBigInt64(8, 20_000_000n, true);

/**
 * `modules` are paths in the initramfs. /dev/vda becomes the root, read-only below memory; a second
 * disk, if there is one, is mounted read-only on /project.
 */
export function planGuestInit(modules: readonly string[]): Program {
  const overlay = "lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work";
  return {
    rows: [
      ...loadModules(modules.map((path) => `/${path}`)),
      { call: "mount", args: ["dev", "/dev", "devtmpfs", 0, 0], ignore: ["EBUSY"] },
      { label: "find-disk" },
      {
        call: "mount",
        args: ["/dev/vda", "/lower", "erofs", MS_RDONLY, 0],
        onError: "wait-for-disk",
        note: "the root file system",
      },
      { call: "mount", args: ["memory", "/memory", "tmpfs", 0, "size=80%"] },
      { call: "mkdir", args: ["/memory/upper", 0o755] },
      { call: "mkdir", args: ["/memory/work", 0o755] },
      { call: "mount", args: ["overlay", "/root", "overlay", 0, overlay] },
      { call: "mkdir", args: ["/root/project", 0o755], ignore: ["EEXIST"] },
      {
        call: "mount",
        args: ["/dev/vdb", "/root/project", "erofs", MS_RDONLY, 0],
        ignore: ["ENOENT", "ENXIO"],
      },
      { call: "mount", args: ["/dev", "/root/dev", 0, MS_MOVE, 0] },
      { call: "chdir", args: ["/root"] },
      { call: "mount", args: [".", "/", 0, MS_MOVE, 0] },
      { call: "chroot", args: ["."] },
      {
        call: "execve",
        args: ["/sbin/init", { strings: ["/sbin/init"] }, { strings: ["PATH=/usr/sbin:/usr/bin"] }],
      },
      { label: "wait-for-disk" },
      { call: "nanosleep", args: [pause, 0] },
      { compute: [{ load: "attempts", width: 8 }, "+", 1], as: "tried" },
      { store: { buffer: "attempts" }, value: { last: true }, width: 8 },
      { jump: "find-disk", if: [{ result: "tried" }, "<", attempts] },
      { label: "failed" },
      // Ending PID 1 panics the kernel, whose message then shows the value: row × 1000 + errno.
      { compute: [{ load: "header", offset: 16, width: 4 }, "*", 1000], as: "where" },
      { compute: [{ last: true }, "+", { load: "header", offset: 20, width: 4 }], as: "why" },
      { end: { result: "why" } },
    ],
    buffers: { attempts: 8 },
    onError: "failed",
  };
}
