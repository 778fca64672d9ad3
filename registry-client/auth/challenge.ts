/**
 * Parses WWW-Authenticate: which schemes a server offers, with their parameters.
 *
 *   Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull", Basic realm=x
 *   └scheme └parameters                                                                       └next challenge
 *
 * RFC 9110 §11.6.1. Commas separate both parameters and challenges; a word that is not followed by
 * "=" starts a new challenge. Unquoted values may hold more than the RFC's tokens, as some
 * registries leave out the quotes around a URL.
 */
import { quoteText, SpecError } from "../../oci/index.ts";

export interface Challenge {
  /** In lower case: "bearer", "basic". */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

export const MAX_CHALLENGE_LENGTH = 16 * 1024;
const MAX_CHALLENGES = 16;
const MAX_PARAMETERS = 32;

const tokenPattern = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const token68Pattern = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const unquotedPattern = /[^ \t,"]+/y;
const quotedPattern = /"((?:[^"\\]|\\.)*)"/y;
const spacePattern = /[ \t]*/y;
const separatorPattern = /[ \t,]*/y;

export function parseChallenges(header: string): readonly Challenge[] {
  if (header.length > MAX_CHALLENGE_LENGTH) {
    throw bad(header, `has ${header.length} characters, expected at most ${MAX_CHALLENGE_LENGTH}`);
  }
  const scanner = new Scanner(header);
  const challenges: Challenge[] = [];
  scanner.take(separatorPattern);
  while (!scanner.atEnd) {
    if (challenges.length === MAX_CHALLENGES) {
      throw bad(header, `has more than ${MAX_CHALLENGES} challenges`);
    }
    challenges.push(readChallenge(scanner));
    scanner.take(separatorPattern);
  }
  return challenges;
}

function readChallenge(scanner: Scanner): Challenge {
  const scheme = scanner.expect(tokenPattern, "the name of a scheme");
  const parameters = new Map<string, string>();
  scanner.take(spacePattern);
  if (scanner.peekParameter() === undefined && scanner.take(token68Pattern) !== undefined) {
    return { scheme: scheme.toLowerCase(), parameters };
  }
  for (;;) {
    const name = scanner.peekParameter();
    if (name === undefined) return { scheme: scheme.toLowerCase(), parameters };
    if (parameters.size === MAX_PARAMETERS) {
      throw bad(scanner.text, `has more than ${MAX_PARAMETERS} parameters`);
    }
    const value = readParameter(scanner);
    // RFC 9110 §11.2: a parameter occurs once; the first is taken.
    if (!parameters.has(name)) parameters.set(name, value);
    scanner.take(separatorPattern);
  }
}

function readParameter(scanner: Scanner): string {
  scanner.take(parameterNamePattern);
  const quoted = scanner.take(quotedPattern);
  if (quoted !== undefined) return quoted.slice(1, -1).replace(/\\(.)/g, "$1");
  return scanner.expect(unquotedPattern, "a value");
}

const parameterNamePattern = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=(?!=*[ \t]*(?:,|$))[ \t]*/y;

class Scanner {
  readonly text: string;
  #position = 0;
  constructor(text: string) {
    this.text = text;
  }

  get atEnd(): boolean {
    return this.#position >= this.text.length;
  }

  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.#position += match[0].length;
    return match[0];
  }

  expect(pattern: RegExp, what: string): string {
    const found = this.take(pattern);
    if (found !== undefined && found !== "") return found;
    throw bad(this.text, `at character ${this.#position}, expected ${what}`);
  }

  /** The name of the parameter that starts here, in lower case; undefined when none does. */
  peekParameter(): string | undefined {
    parameterNamePattern.lastIndex = this.#position;
    return parameterNamePattern.exec(this.text)?.[1]?.toLowerCase();
  }
}

function bad(header: string, problem: string): SpecError {
  return new SpecError({
    document: `WWW-Authenticate ${quoteText(header)}`,
    path: "",
    problem,
  });
}
