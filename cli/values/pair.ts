/** Values of flags that name two things: environment, labels, limits, hosts. */
import { readFileSync } from "node:fs";
import type { SecurityOption, UlimitOption } from "../../engine/index.ts";

/** -e NAME[=VALUE]. A bare name takes our own value, and vanishes when we have none. */
export function parseEnv(text: string): string {
  if (text === "" || text.startsWith("=")) throw new SyntaxError("expected NAME or NAME=VALUE");
  if (text.includes("\0")) throw new SyntaxError("expected text without NUL");
  return text;
}

/** Fills bare names from `env`; NAME alone with no value of ours is left out, as docker does. */
export function resolveEnv(
  given: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  return given.flatMap((entry) => {
    if (entry.includes("=")) return [entry];
    const own = env[entry];
    return own === undefined ? [] : [`${entry}=${own}`];
  });
}

/** The most an --env-file or --label-file may hold. */
const FILE_LIMIT_BYTES = 16 * 1024 * 1024;

/** Reads an --env-file: a NAME or NAME=VALUE a line, comments after "#", values as they stand. */
export function readEnvFile(path: string): string[] {
  return readLines(path).map(({ line, number }) => {
    const name = line.split("=", 1)[0] ?? "";
    if (name === "" || /\s/.test(name)) {
      throw new SyntaxError(`expected NAME=VALUE in line ${number} of ${path}`);
    }
    return line;
  });
}

export function readLabelFile(path: string): string[] {
  return readLines(path).map(({ line }) => line);
}

function readLines(path: string): { line: string; number: number }[] {
  const bytes = read(path);
  if (bytes.length > FILE_LIMIT_BYTES) throw new SyntaxError("expected a file of at most 16 MiB");
  if (bytes.includes(0)) throw new SyntaxError("expected a text file without NUL");
  const text = bytes.toString("utf8").replace(/^\ufeff/, "");
  return text
    .split(/\r?\n/)
    .map((line, index) => ({ line: line.trimStart(), number: index + 1 }))
    .filter(({ line }) => line !== "" && !line.startsWith("#"));
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    // SAFE: node:fs throws nothing but errors with a code
    throw new SyntaxError(`cannot read it (${(cause as NodeJS.ErrnoException).code})`);
  }
}

/** KEY=VALUE, or KEY for an empty value. */
export function parsePair(text: string): readonly [key: string, value: string] {
  const equals = text.indexOf("=");
  const key = equals < 0 ? text : text.slice(0, equals);
  if (key === "") throw new SyntaxError("expected KEY=VALUE");
  return [key, equals < 0 ? "" : text.slice(equals + 1)];
}

/** KEY=VALUE where the value must be there. */
export function parseFullPair(text: string): readonly [key: string, value: string] {
  if (!text.includes("=")) throw new SyntaxError("expected KEY=VALUE");
  return parsePair(text);
}

const ulimits =
  "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack";

/** --ulimit NAME=SOFT[:HARD]; -1 is no limit. */
export function parseUlimit(text: string): UlimitOption {
  const match = /^(\w+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (match === null) throw new SyntaxError("expected NAME=SOFT[:HARD], such as nofile=1024:2048");
  const [, name = "", softText, hardText] = match;
  if (!ulimits.split(" ").includes(name)) {
    throw new SyntaxError(`expected one of ${ulimits.replaceAll(" ", ", ")}`);
  }
  const soft = Number(softText);
  const hard = hardText === undefined ? soft : Number(hardText);
  if (soft < -1 || hard < -1) throw new SyntaxError("expected limits of -1 or more");
  if (hard !== -1 && (soft === -1 || soft > hard)) {
    throw new SyntaxError("expected a soft limit that is not above the hard one");
  }
  return { name, soft, hard };
}

/** --add-host NAME:ADDRESS or NAME=ADDRESS; an IPv6 address may stand in brackets. */
export function parseExtraHost(text: string): { host: string; address: string } {
  const match = /^([^:=\s]+)[:=](\S+)$/.exec(text);
  const [, host, given] = match ?? [];
  if (host === undefined || given === undefined) throw new SyntaxError("expected HOST:ADDRESS");
  const address = given.replace(/^\[(.*)\]$/, "$1");
  if (address === "host-gateway") return { host, address };
  return { host, address: parseAddress(address) };
}

/** An IPv4 or IPv6 address. */
export function parseAddress(text: string): string {
  const parts = text.split(".");
  const isIpv4 = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && +part < 256);
  if (isIpv4 || isIpv6(text)) return text;
  throw new SyntaxError("expected an IPv4 or IPv6 address");
}

function isIpv6(text: string): boolean {
  const bare = text.split("%", 1)[0] ?? "";
  return /^[0-9a-fA-F:.]+$/.test(bare) && URL.canParse(`http://[${bare}]/`);
}

/** --security-opt; docker takes both "=" and, from before 2016, ":". */
export function parseSecurityOption(text: string): SecurityOption {
  const match = /^([a-z-]+)(?:[=:](.*))?$/s.exec(text);
  const [, key, value] = match ?? [];
  if (key === "no-new-privileges" && [undefined, "true"].includes(value)) {
    return { noNewPrivileges: true };
  }
  if (key === "no-new-privileges" && value === "false") return { noNewPrivileges: false };
  if (key === "systempaths" && value === "unconfined") return { systemPathsUnconfined: true };
  if (key === "seccomp" && value) return value === "builtin" ? {} : { seccomp: value };
  if (key === "apparmor" && value) return { apparmor: value };
  if (key === "label" && value) return { label: value };
  throw new SyntaxError(
    "expected seccomp=FILE, seccomp=unconfined, no-new-privileges, apparmor=PROFILE, " +
      "label=… or systempaths=unconfined",
  );
}
