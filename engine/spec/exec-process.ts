/** Another process in a container: the first one's settings, with what the caller asks. Pure. */
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import { ContainerError } from "../errors.ts";
import type { Account } from "./users.ts";

/** `user` as `--user` has it. Throws ContainerError. */
export function execProcess(
  { process: base }: RuntimeConfig,
  options: Partial<Process> & { readonly args: readonly string[] },
  user: string | undefined,
  accountOf: (user: string) => Account,
): Process {
  if (base === undefined) throw new ContainerError("Cannot run another process: there is none");
  const { consoleSize: _first, ...rest } = base;
  const env = lastOfEach([...(base.env ?? []), ...(options.env ?? [])]);
  return { ...rest, terminal: false, ...options, env, ...accountFields(base, user, accountOf) };
}

/** A user other than root starts without capabilities, and root with the container's. */
function accountFields(
  { capabilities }: Process,
  user: string | undefined,
  accountOf: (user: string) => Account,
): Partial<Process> {
  if (user === undefined) return {};
  const { home: _home, ...account } = accountOf(user);
  const { bounding = [] } = capabilities ?? {};
  const own = account.uid === 0 ? bounding : [];
  return {
    user: account,
    capabilities: { bounding, permitted: own, effective: own, inheritable: [], ambient: [] },
  };
}

/** The last value of each name counts. */
function lastOfEach(env: readonly string[]): readonly string[] {
  const nameOf = (entry: string) =>
    entry.slice(0, (entry.indexOf("=") + 1 || entry.length + 1) - 1);
  return [...new Map(env.map((entry) => [nameOf(entry), entry])).values()];
}
