/**
 * Turns `--user` into numbers with the image's own /etc/passwd and /etc/group, by docker's rules
 * (runtime-spec leaves names to the engine): names first, then numbers, which need no entry.
 */
import type { User } from "../../oci/index.ts";
import { ContainerError } from "../errors.ts";

export interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

export interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

export interface Account extends User {
  readonly home: string;
}

/** Larger files are not what passwd(5) is for; the rest is not read. */
export const MAX_ACCOUNT_FILE_BYTES = 4 * 1024 * 1024;
const MAX_ID = 0x7fffffff; // docker's, so that a signed int never turns negative

export function parsePasswd(text: string): readonly PasswdEntry[] {
  return fieldsOf(text).flatMap(([name = "", , uid, gid, , home = ""]) => {
    const user = readId(uid);
    const group = readId(gid);
    return name === "" || user === undefined || group === undefined
      ? []
      : [{ name, uid: user, gid: group, home }];
  });
}

export function parseGroup(text: string): readonly GroupEntry[] {
  return fieldsOf(text).flatMap(([name = "", , gid, members = ""]) => {
    const group = readId(gid);
    if (name === "" || group === undefined) return [];
    return [{ name, gid: group, members: members.split(",").filter((each) => each !== "") }];
  });
}

function fieldsOf(text: string): string[][] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));
}

interface AccountFiles {
  readonly passwd: () => readonly PasswdEntry[];
  readonly group: () => readonly GroupEntry[];
}

/** Who the process runs as. `wanted` is "", "user", "user:group" or ":group". */
export function resolveUser(
  wanted: string,
  extraGroups: readonly string[],
  { passwd, group }: AccountFiles,
): Account {
  const [userPart = "", groupPart] = wanted.split(":", 2);
  const entry = findUser(userPart === "" ? "0" : userPart, passwd());
  const gid = groupPart ? findGroup(groupPart, group()) : entry.gid;
  // an explicit group stands alone; otherwise the groups that list the user come along
  const memberships =
    groupPart || entry.name === undefined ? [] : groupsOf(entry.name, gid, group());
  const extra = extraGroups.map((name) => findGroup(name, group()));
  const additionalGids = [...new Set([gid, ...memberships, ...extra])];
  return { uid: entry.uid, gid, additionalGids, home: entry.home === "" ? "/" : entry.home };
}

interface FoundUser {
  readonly name?: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

function findUser(wanted: string, entries: readonly PasswdEntry[]): FoundUser {
  const named = entries.find((entry) => entry.name === wanted);
  if (named !== undefined) return named;
  const uid = readId(wanted);
  if (uid === undefined) {
    throw new ContainerError(
      `Cannot find user "${wanted}": the image's /etc/passwd has no such name`,
      { hint: "give a number instead of a name" },
    );
  }
  return entries.find((entry) => entry.uid === uid) ?? { uid, gid: 0, home: "/" };
}

function findGroup(wanted: string, entries: readonly GroupEntry[]): number {
  const gid = entries.find((entry) => entry.name === wanted)?.gid ?? readId(wanted);
  if (gid !== undefined) return gid;
  throw new ContainerError(
    `Cannot find group "${wanted}": the image's /etc/group has no such name`,
    { hint: "give a number instead of a name" },
  );
}

function groupsOf(user: string, gid: number, entries: readonly GroupEntry[]): number[] {
  return entries
    .filter((entry) => entry.gid !== gid && entry.members.includes(user))
    .map((entry) => entry.gid);
}

function readId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}
