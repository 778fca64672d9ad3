/**
 * Labels of security modules: runtime-spec 1.3 config.md, "apparmorProfile" and "selinuxLabel",
 * config-linux.md, "Mount Label". The kernel applies a process's label at its next execve, which
 * is the container's command; what is forked until then inherits it (proc_pid_attr(5)).
 */
import { AT_FDCWD, O_CLOEXEC, O_WRONLY } from "../../linux/index.ts";
import type { Mount, Process } from "../../oci/index.ts";
import { isBind } from "./mounts.ts";
import type { RowList } from "./row-list.ts";

const unconfined = "unconfined";
/** A kernel without AppArmor has no such file; one older than 5.8 has just the other. */
const apparmorFile = "/proc/self/attr/apparmor/exec";
const execFile = "/proc/self/attr/exec";
/** The key of the session keyring that is made next. */
const keyFile = "/proc/self/attr/keycreate";

/** In the host's /proc, before anything of the container's is entered. */
export function planLabels(rows: RowList, process: Process | undefined): void {
  const { apparmorProfile: profile, selinuxLabel: label } = process ?? {};
  if (profile) planProfile(rows, profile);
  if (!label) return;
  planWrite(rows, keyFile, label, "process.selinuxLabel");
  planWrite(rows, execFile, label, "process.selinuxLabel");
}

function planProfile(rows: RowList, profile: string): void {
  const [older, done] = [rows.freshLabel("older"), rows.freshLabel("labelled")];
  // To be told that one is not confined does no harm where nobody confines.
  const tolerance =
    profile === unconfined ? { ignore: ["EINVAL", "EACCES", "EPERM"] as const } : undefined;
  const text = `exec ${profile}`;
  const note = `process.apparmorProfile: write to \`${apparmorFile}\``;
  const file = rows.result("openat", [AT_FDCWD, apparmorFile, O_WRONLY | O_CLOEXEC], {
    ignore: ["ENOENT"],
    note,
  });
  rows.gotoIfFailed(older);
  rows.call("write", [file, text, Buffer.byteLength(text)], { ...tolerance, note });
  rows.call("close", [file]);
  rows.goto(done);
  rows.label(older);
  if (profile !== unconfined) planWrite(rows, execFile, text, "process.apparmorProfile");
  rows.label(done);
}

/** Podman looks for the file's name in backquotes. */
function planWrite(rows: RowList, path: string, text: string, field: string): void {
  const note = `${field}: write to \`${path}\``;
  const file = rows.result("openat", [AT_FDCWD, path, O_WRONLY | O_CLOEXEC], { note });
  rows.call("write", [file, text, Buffer.byteLength(text)], { note });
  rows.call("close", [file]);
}

/** File systems whose files SELinux labels by itself, or whose superblock is the host's. */
const labelledByKernel = new Set(["proc", "sysfs", "mqueue", "cgroup", "cgroup2"]);

/** New file systems get the label as a mount option; it has commas, hence the quotes. */
export function labelMounts(mounts: readonly Mount[], label: string | undefined): readonly Mount[] {
  if (!label) return mounts;
  return mounts.map((mount) =>
    isBind(mount) || labelledByKernel.has(mount.type ?? "")
      ? mount
      : { ...mount, options: [...(mount.options ?? []), `context="${label}"`] },
  );
}
