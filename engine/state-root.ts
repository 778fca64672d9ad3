/**
 * Where things are kept: /var/lib/manyworlds for root, the XDG directories for everybody else
 * (XDG Base Directory Specification 0.8), or what --root or MANYWORLDS_ROOT name.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

type Env = Readonly<Record<string, string | undefined>>;

export function defaultStateRoot(env: Env, uid: number = process.getuid?.() ?? 0): string {
  const named = env["MANYWORLDS_ROOT"];
  if (named) return resolve(named);
  if (uid === 0) return "/var/lib/manyworlds";
  const data = env["XDG_DATA_HOME"];
  // the specification tells us to ignore relative paths
  const base = data?.startsWith("/") ? data : join(env["HOME"] || homedir(), ".local/share");
  return join(base, "manyworlds");
}
