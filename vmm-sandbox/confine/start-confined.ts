/** Starts a monitor's process confined: nothing of the host but what it is given. */
import { lstatSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import {
  AF_UNIX,
  call,
  type EncodedProgram,
  Fd,
  type Program,
  type ProgramFailure,
  programError,
  readOutcome,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  type Spawned,
  spawnProgram,
  syscall,
} from "../../linux/index.ts";
import { mapEverybody, nobodyOf, parseIdRanges } from "./id-ranges.ts";
import {
  IDS_ARE_MAPPED,
  type LaunchPlan,
  PID_BYTES,
  planLaunch,
  REPORT_BYTES,
  type RootEntry,
} from "./launch-plan.ts";
import { libraryFolders, libraryLinks } from "./libraries.ts";

export interface SharedDirectory {
  readonly source: string;
  /** Absolute, in the monitor's root. */
  readonly target: string;
  readonly readOnly: boolean;
}

export interface ConfinedStart {
  readonly executable: string;
  /** With the program's name first. */
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Descriptors that become 0, 1 and 2; without it they are inherited. */
  readonly stdio?: readonly [number, number, number];
  /** Descriptors, by our numbers, that the monitor gets under the same numbers. */
  readonly keep?: readonly number[];
  /** Files and folders that it may read at the same paths, besides its libraries. */
  readonly readable?: readonly string[];
  /** Directories that the guest sees; the monitor then keeps what handling foreign files takes. */
  readonly shared?: readonly SharedDirectory[];
}

export interface ConfinedProcess {
  readonly pid: number;
  readonly pidfd: Fd;
}

/** The process could not be confined, and was not started. */
export class ConfinementError extends Error {
  override readonly name = "ConfinementError";
  readonly hint: string;
  constructor(message: string, hint: string, cause?: unknown) {
    super(`Cannot confine the monitor: ${message}`, { cause });
    this.hint = hint;
  }
}

const DEVICES = ["/dev/null", "/dev/urandom"];
const SCAFFOLDS = ["/sys", "/mnt", "/media", "/srv", "/run", "/tmp"];
/** CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SETFCAP; over mapped files only. */
const FILE_CAPABILITIES = 0b1_1111n | (1n << 31n);
const USER_NAMESPACE_HINT =
  "Allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)";

const HINT = "Run where new namespaces may mount, outside of a container that forbids it";

/** Returns once the monitor executes; throws ConfinementError when it does not. */
export function startConfined(start: ConfinedStart): ConfinedProcess {
  const shared = start.shared ?? [];
  const [ours, theirs] = socketPair();
  using sync = ours;
  using executable = Fd.take(openSync(start.executable, "r"));
  const entries = listEntries(start);
  const program = planLaunch({
    entries,
    links: libraryLinks(),
    scaffold: findScaffold(entries),
    keepCapabilities: shared.length === 0 ? 0n : FILE_CAPABILITIES,
    executable: executable.number,
    sync: theirs.number,
    keep: start.keep ?? [],
    args: start.args,
    env: start.env,
  } satisfies LaunchPlan);
  const { encoded } = spawn(program, start, [executable.number, theirs.number]);
  theirs.close();
  const read = (sizeBytes: number) => readReport(sync, sizeBytes, program, encoded);
  const pid = new DataView(read(PID_BYTES).buffer).getInt32(0, true);
  try {
    writeIdMaps(pid, shared.length > 0);
    call("write", sync, Uint8Array.of(IDS_ARE_MAPPED), 1);
    read(0);
    return { pid, pidfd: Fd.from("pidfd_open", pid, 0) };
  } catch (error) {
    sync.close(); // the process ends when it reads that
    syscall("wait4", pid, 0, 0, 0);
    throw error;
  }
}

/** Runs the program until it has cloned the monitor's process. */
function spawn(program: Program, start: ConfinedStart, more: readonly number[]): Spawned {
  const { stdio, keep = [] } = start;
  const spawned = spawnProgram(program, {
    ...(stdio === undefined ? {} : { stdio }),
    keep: [...keep, ...more],
    name: "manyworlds-monitor",
  });
  spawned.pidfd.close();
  call("wait4", spawned.pid, 0, 0, 0);
  return spawned;
}

function listEntries({ readable = [], shared = [] }: ConfinedStart): readonly RootEntry[] {
  const paths = [...libraryFolders(), ...readable].sort();
  const outermost = paths.filter(
    (path, index) => !paths.slice(0, index).some((other) => contains(other, path)),
  );
  return [
    ...outermost.map((path) => {
      const type = statSync(path).isDirectory() ? "directory" : "file";
      return { source: path, target: path, type, readOnly: true } as const;
    }),
    ...DEVICES.map((path) => {
      return { source: path, target: path, type: "device", readOnly: false } as const;
    }),
    ...shared.map((entry) => ({ ...entry, type: "directory" }) as const),
  ];
}

function contains(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function findScaffold(entries: readonly RootEntry[]): string {
  const free = SCAFFOLDS.find(
    (path) =>
      lstatSync(path, { throwIfNoEntry: false })?.isDirectory() &&
      !entries.some(({ source }) => contains(path, source)),
  );
  if (free !== undefined) return free;
  throw new ConfinementError(
    `every one of ${SCAFFOLDS.join(", ")} is missing or holds something shared with the guest`,
    "Make one of these directories",
  );
}

/**
 * Root gives up being root: the monitor is nobody, unless it handles files of others, for which it
 * keeps everybody's IDs, but in a user namespace. Others stay what they are.
 */
function writeIdMaps(pid: number, everybody: boolean): void {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  const isRoot = uid === 0;
  const map = (kind: "uid" | "gid", id: number): string => {
    if (!isRoot) return `0 ${id} 1`;
    const ranges = parseIdRanges(readFileSync(`/proc/self/${kind}_map`, "utf8"));
    return everybody ? mapEverybody(ranges) : `0 ${nobodyOf(ranges)} 1`;
  };
  try {
    if (!isRoot) writeFileSync(`/proc/${pid}/setgroups`, "deny");
    writeFileSync(`/proc/${pid}/uid_map`, map("uid", uid));
    writeFileSync(`/proc/${pid}/gid_map`, map("gid", gid));
  } catch (error) {
    throw new ConfinementError("its user namespace takes no ID map", USER_NAMESPACE_HINT, error);
  }
}

function socketPair(): readonly [Fd, Fd] {
  const pair = new Int32Array(2);
  call("socketpair", AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, new Uint8Array(pair.buffer));
  const [ours = -1, theirs = -1] = pair;
  return [Fd.take(ours), Fd.take(theirs)];
}

/**
 * Reads what is expected, or throws what failed. The socket closes on execve; what comes otherwise
 * is the header of the program that failed.
 */
function readReport(
  sync: Fd,
  expected: number,
  program: Program,
  encoded: EncodedProgram,
): Uint8Array {
  const message = new Uint8Array(REPORT_BYTES);
  const length = call("read", sync, message, message.length);
  if (length === expected) return message;
  const block = new Uint8Array(encoded.sizeBytes);
  encoded.write(block, 0);
  block.set(message);
  const { failure } = readOutcome(program, encoded, block, -1);
  if (length === REPORT_BYTES && failure !== undefined) throw explain(failure);
  throw new ConfinementError("its process ended early", HINT);
}

function explain(failure: ProgramFailure): ConfinementError {
  const note = failure.note === undefined ? "" : ` (${failure.note})`;
  return new ConfinementError(
    `${failure.call} failed with ${failure.errno}${note}`,
    failure.call === "clone" ? USER_NAMESPACE_HINT : HINT,
    programError(failure),
  );
}
