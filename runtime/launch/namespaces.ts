/** Which namespaces are made and which are joined: config-linux.md, "Namespaces". */
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
} from "../../linux/index.ts";
import { type Namespace, type NamespaceType, SpecError } from "../../oci/index.ts";

// biome-ignore format: table
export const namespaceFlags: Readonly<Record<NamespaceType, number>> = {
  user: CLONE_NEWUSER, mount: CLONE_NEWNS, pid: CLONE_NEWPID, network: CLONE_NEWNET,
  ipc: CLONE_NEWIPC, uts: CLONE_NEWUTS, cgroup: CLONE_NEWCGROUP, time: CLONE_NEWTIME,
};

/** Names in /proc/PID/ns. */
// biome-ignore format: table
export const namespaceFiles: Readonly<Record<NamespaceType, string>> = {
  user: "user", mount: "mnt", pid: "pid", network: "net", ipc: "ipc", uts: "uts",
  cgroup: "cgroup", time: "time",
};

export interface JoinedNamespace {
  readonly type: NamespaceType;
  readonly path: string;
}

export interface NamespacePlan {
  readonly created: ReadonlySet<NamespaceType>;
  readonly joined: readonly JoinedNamespace[];
  has(type: NamespaceType): boolean;
  /**
   * A process of its own must prepare the way: a PID namespace is entered, a time namespace is
   * made, for children only, and a user namespace is mapped from outside.
   */
  readonly staged: boolean;
}

export function planNamespaces(namespaces: readonly Namespace[] = []): NamespacePlan {
  const created = new Set<NamespaceType>();
  const joined: JoinedNamespace[] = [];
  const seen = new Set<NamespaceType>();
  for (const { type, path } of namespaces) {
    if (!Object.hasOwn(namespaceFlags, type))
      throw broken(`has unknown type ${JSON.stringify(type)}`);
    if (seen.has(type)) throw broken(`names "${type}" twice`);
    seen.add(type);
    if (path === undefined || path === "") created.add(type);
    else joined.push({ type, path });
  }
  const staged =
    created.has("user") ||
    created.has("time") ||
    joined.some(({ type }) => type === "user" || type === "pid" || type === "time");
  return { created, joined, has: (type) => seen.has(type), staged };
}

export function flagsOf(types: Iterable<NamespaceType>): number {
  let flags = 0;
  for (const type of types) flags |= namespaceFlags[type];
  return flags >>> 0;
}

/** Those that a clone makes; the others are entered by calls of their own. */
export function clonedFlags({ created }: Pick<NamespacePlan, "created">): number {
  return flagsOf([...created].filter((type) => type !== "cgroup" && type !== "time"));
}

/** For the clone that starts the program; a staged one makes a second for the container. */
export function firstCloneFlags(namespaces: NamespacePlan): number {
  return namespaces.staged ? 0 : clonedFlags(namespaces);
}

/** What a hook in the container's namespaces joins. */
export function hookFlags(namespaces: readonly Namespace[] | undefined): number {
  const { created, joined } = planNamespaces(namespaces);
  // A time namespace is entered by the clone that follows, which a hook's process does not make.
  const types = [...created, ...joined.map(({ type }) => type)].filter((type) => type !== "time");
  return flagsOf(types);
}

function broken(problem: string): SpecError {
  return new SpecError({ document: "config.json", path: "linux.namespaces", problem });
}
