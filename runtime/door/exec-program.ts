/**
 * The program that the door runs for `exec CONTAINER COMMAND…`: the rows of exec.ts as an
 * executable of its own, made by the first such `exec` (prepare.ts). What to execute it reads from its command
 * line; everything else (user, limits, capabilities, filter) is the container's own process's.
 *
 * ```
 * descriptor 3   socket to the door, launch/sync.ts
 * descriptor 4   pidfd of the container's process
 * argv           a name for ps, then the command
 * ```
 */
import {
  type Argument,
  AT_FDCWD,
  encodeElf,
  O_CLOEXEC,
  O_WRONLY,
  startStack,
  utf8Length,
} from "../../linux/index.ts";
import type { NamespaceType, Process } from "../../oci/index.ts";
import { entrancePaths } from "../cgroups/cgroup.ts";
import { planExec } from "../exec.ts";
import { exists } from "../files.ts";
import { type Command, searchPath } from "../launch/execute.ts";
import { flagsOf, namespaceFiles, planNamespaces } from "../launch/namespaces.ts";
import { reportBuffer } from "../launch/sync.ts";
import { isOrdinaryUser } from "../privilege.ts";
import type { EncodedFilter } from "../seccomp/compile.ts";
import type { ContainerRecord } from "../state.ts";
import { DoorRows } from "./door-rows.ts";

export const execDescriptors = { sync: 3, target: 4 } as const;
/** A longer command is left to the executable. */
const commandLimit = 4095;

export interface ExecFacts {
  /** Capabilities that can be granted. */
  readonly grantable: bigint;
  readonly filter: EncodedFilter | undefined;
}

/** undefined for a container that takes more than this to enter. */
export function encodeExecProgram(
  record: ContainerRecord,
  { grantable, filter }: ExecFacts,
): Uint8Array | undefined {
  const { config, cgroup, owner, resctrl } = record;
  const { process, linux } = config;
  const joinsUser = planNamespaces(linux?.namespaces).has("user");
  const isHostRoot = owner === 0 && !isOrdinaryUser();
  if (process === undefined || !isHostRoot || joinsUser) return undefined;
  if (filter?.notifies === true || resctrl !== undefined) return undefined;
  const rows = new DoorRows();
  const sync = execDescriptors.sync;
  // A failure before exec.ts's own first row must find its way too.
  rows.add({ store: rows.buffer(reportBuffer, 8), value: sync, width: 4 });
  const entrances = (cgroup === undefined ? [] : entrancePaths(cgroup)).map((path) =>
    rows.result("openat", [AT_FDCWD, path, O_WRONLY | O_CLOEXEC]),
  );
  const program = planExec(
    record,
    { process: { ...process, terminal: false } },
    {
      sync,
      target: execDescriptors.target,
      flags: flagsOf(knownNamespaces()),
      joinsUser: false,
      grantable,
      entrances,
      command: commandFromStack(rows, process),
      seccompFilter: filter,
    },
    rows,
  );
  return encodeElf(program);
}

/** All but the user's: setns(2) takes a namespace that one is already in, except that. */
function knownNamespaces(): readonly NamespaceType[] {
  const types = Object.keys(namespaceFiles) as NamespaceType[]; // SAFE: the table's own keys
  return types.filter((type) => type !== "user" && exists(`/proc/self/ns/${namespaceFiles[type]}`));
}

function commandFromStack(rows: DoorRows, process: Process): Command {
  const directories = searchPath(process);
  const longest = Math.max(...directories.map((directory) => utf8Length(directory)));
  const buffer = rows.buffer("candidate", longest + 1 + commandLimit + 1);
  const argv: Argument = { load: rows.buffer("command_words", 8).buffer, width: 8 };
  return {
    argv,
    envp: { strings: process.env ?? [] },
    forEachCandidate(what, body) {
      // A command with a slash is tried as it is, and again, until the table ends.
      planLookAt(rows);
      rows.forEach(what, directories, (directory, next) => {
        const [named, ready] = [rows.freshLabel("named"), rows.freshLabel("ready")];
        rows.gotoIf(named, rows.get("has_slash"), "!=", 0);
        rows.scan("length", directory, () => {});
        rows.add({ copy: directory, to: buffer, length: rows.get("length") });
        const slash = rows.compute(rows.get("length"), "+", buffer);
        rows.add({ copy: "/", to: slash, length: 1 });
        const name = rows.compute(slash, "+", 1);
        const size = rows.compute(rows.get("command_length"), "+", 1);
        rows.add({ copy: rows.get("command"), to: name, length: size });
        rows.set("candidate_path", buffer);
        rows.goto(ready);
        rows.label(named);
        rows.set("candidate_path", rows.get("command"));
        rows.label(ready);
        body(rows.get("candidate_path"), next);
      });
    },
  };
}

/** The command's address and length, and whether it is a path. */
function planLookAt(rows: DoorRows): void {
  rows.set("command_words", rows.compute(startStack, "+", 16));
  rows.set("command", rows.read(rows.get("command_words"), 8));
  rows.set("has_slash", 0);
  rows.scan("command_length", rows.get("command"), (byte) => {
    const other = rows.freshLabel("no_slash");
    rows.gotoIf("fail", rows.get("command_length"), ">=", commandLimit);
    rows.gotoIf(other, byte, "!=", "/".charCodeAt(0));
    rows.set("has_slash", 1);
    rows.label(other);
  });
}
