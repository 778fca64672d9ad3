/** Values of flags that are one number or word: sizes, counts, durations. */

/** docker's RAMInBytes: "512", "64m", "1.5GB", "2 GiB"; units are powers of 1024. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgtp])i?b?|b)?$/i.exec(text);
  if (match === null) throw new SyntaxError("expected a size such as 512m or 2g");
  const power = "kmgtp".indexOf((match[2] ?? "").toLowerCase());
  const bytes = Math.floor(Number(match[1]) * (match[2] === undefined ? 1 : 1024 ** (power + 1)));
  if (!Number.isSafeInteger(bytes)) throw new SyntaxError("expected a size below 8 PiB");
  return bytes;
}

/** A size, or -1 for no limit. */
export function parseBytesOrUnlimited(text: string): number {
  return text === "-1" ? -1 : parseBytes(text);
}

export function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new SyntaxError("expected a whole number");
  }
  return value;
}

/** CPUs, as docker's NanoCPUs: a decimal above 0.001, or 0 for no limit. */
export function parseCpus(text: string): number {
  const value = Number(text);
  if (!/^\d*\.?\d+$|^\d+\.$/.test(text)) {
    throw new SyntaxError("expected a number of CPUs such as 1.5");
  }
  if (value !== 0 && value < 0.01) throw new SyntaxError("expected at least 0.01 CPUs");
  return value;
}

const seconds = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 } as const;

/** Go's durations, "1h30m" or "1.5s"; in milliseconds. */
export function parseDurationMs(text: string): number {
  const part = /(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/gy;
  let sum = 0;
  let end = 0;
  for (let match = part.exec(text); match !== null; match = part.exec(text)) {
    // SAFE: the pattern lists exactly the keys of `seconds`
    sum += Number(match[1]) * seconds[match[2] as keyof typeof seconds];
    end = part.lastIndex;
  }
  if (end === 0 || end !== text.length) {
    throw new SyntaxError("expected a duration such as 90s or 1h30m");
  }
  return sum * 1000;
}

export function parseCpuset(text: string): string {
  if (!/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) {
    throw new SyntaxError("expected a list such as 0-3 or 0,2");
  }
  return text;
}

export function parseOomScore(text: string): number {
  const value = parseInteger(text);
  if (value < -1000 || value > 1000) throw new SyntaxError("expected -1000 to 1000");
  return value;
}

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** A container's name, by docker's rule. */
export function parseContainerName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (!namePattern.test(name) || name.length > 200) {
    throw new SyntaxError("expected letters, digits, '_', '.', '-', two or more, letter first");
  }
  return name;
}

export function parseHostname(text: string): string {
  if (text.length > 63 || !/^[a-zA-Z0-9]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?$/.test(text)) {
    throw new SyntaxError("expected at most 63 letters, digits, '-' and '.'");
  }
  return text;
}

export function parseAbsolutePath(text: string): string {
  if (!text.startsWith("/")) throw new SyntaxError("expected an absolute path in the container");
  if (text.includes("\0")) throw new SyntaxError("expected a path without NUL");
  return text;
}

/** The spellings Go's strconv.ParseBool takes, as docker's switches do. */
export function parseBoolean(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new SyntaxError("expected true or false");
}
