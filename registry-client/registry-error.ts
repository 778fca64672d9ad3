/** A registry answered, but not with what was asked. */
import { json, quoteText } from "../oci/index.ts";
import { DOCKER_HUB_SERVER } from "./auth/credentials.ts";
import { readBody } from "./http/body.ts";
import type { ExchangeResult } from "./http/exchange.ts";
import { parseRetryAfter } from "./retry-after.ts";

export type RegistryProblem =
  /** 401: log in, or log in as somebody else. */
  | "unauthorized"
  /** 403: this login may not do it. */
  | "forbidden"
  /** 404 */
  | "not-found"
  /** 429 */
  | "rate-limited"
  /** 5xx and 408: later, perhaps. */
  | "unavailable"
  /** Any other status, or an answer that makes no sense. */
  | "unexpected";

export interface RegistryFailure {
  /** What we could not do: `fetch the manifest of "busybox:latest"`. */
  readonly action: string;
  /** Host and port that answered. */
  readonly host: string;
  readonly status: number;
  readonly problem: RegistryProblem;
  /** distribution-spec 1.1, "Error Codes"; empty when the body held none. */
  readonly errors: readonly RegistryErrorEntry[];
  /** What is wrong with an answer whose status is right. */
  readonly detail?: string;
  /** What the Retry-After header asks for. */
  readonly retryAfterMs?: number;
  readonly hint?: string;
}

export interface RegistryErrorEntry {
  readonly code: string;
  readonly message: string;
}

export class RegistryError extends Error {
  override readonly name = "RegistryError";
  readonly failure: RegistryFailure;
  readonly hint: string | undefined;

  constructor(failure: RegistryFailure, options?: ErrorOptions) {
    const { action, host, status, errors, detail } = failure;
    const list = errors.length === 0 ? "" : ` (${errors.map(describeEntry).join("; ")})`;
    const said = detail === undefined ? list : `, but ${detail}`;
    super(`Cannot ${action}: "${host}" answered ${status}${said}`, options);
    this.failure = failure;
    this.hint = failure.hint;
  }
}

const MAX_SHOWN_CODE = 64;

function describeEntry({ code, message }: RegistryErrorEntry): string {
  const safeCode = code.replace(/[^\w-]/g, "").slice(0, MAX_SHOWN_CODE);
  return message === ""
    ? safeCode
    : `${safeCode === "" ? "" : `${safeCode}: `}${quoteText(message)}`;
}

/** An answer with the right status that makes no sense. */
export function senselessAnswer(
  action: string,
  response: ExchangeResult,
  detail: string,
): RegistryError {
  const { status, url } = response;
  return new RegistryError({
    action,
    host: url.host,
    status,
    problem: "unexpected",
    errors: [],
    detail,
  });
}

const MAX_ERROR_BODY_BYTES = 64 * 1024;
const MAX_ERROR_ENTRIES = 16;

/**
 * Makes the error for an answer, and reads its body to the end.
 * @param server docker's name for the registry, by which one logs in
 */
export async function registryError(
  action: string,
  response: ExchangeResult,
  server: string,
): Promise<RegistryError> {
  const { status, headers, url } = response;
  const body = await readBody(response.body, "an error", MAX_ERROR_BODY_BYTES).catch(
    () => undefined,
  );
  const problem = problemOf(status);
  const retryAfterMs = parseRetryAfter(headers.get("retry-after"), Date.now());
  const hint = hintFor(problem, server);
  return new RegistryError({
    action,
    host: url.host,
    status,
    problem,
    errors: body === undefined ? [] : readErrors(body),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(hint === undefined ? {} : { hint }),
  });
}

function problemOf(status: number): RegistryProblem {
  switch (status) {
    case 401:
      return "unauthorized";
    case 403:
      return "forbidden";
    case 404:
      return "not-found";
    case 429:
      return "rate-limited";
    case 408:
      return "unavailable";
    default:
      return status >= 500 && status !== 501 ? "unavailable" : "unexpected";
  }
}

function hintFor(problem: RegistryProblem, server: string): string | undefined {
  const command = server === DOCKER_HUB_SERVER ? "manyworlds login" : `manyworlds login ${server}`;
  switch (problem) {
    case "unauthorized":
      return `check the name, as missing repositories look private; if it is right: ${command}`;
    case "forbidden":
      return `log in as a user who may do this: ${command}`;
    case "rate-limited":
      return `registries count pulls, anonymous ones most strictly: ${command}, wait, or use a mirror`;
    default:
      return undefined;
  }
}

interface ErrorsDocument {
  readonly errors?: readonly LooseEntry[];
  /** Token servers (RFC 6749 §5.2, and docker's) answer in one of these ways. */
  readonly error?: string;
  readonly error_description?: string;
  readonly details?: string;
  readonly message?: string;
}
interface LooseEntry {
  readonly code?: string;
  readonly message?: string;
}

const { array, object, optional, string } = json;
const errorsReader = object<ErrorsDocument>({
  errors: optional(
    array(
      object<LooseEntry>({ code: optional(string), message: optional(string) }),
      MAX_ERROR_ENTRIES,
    ),
  ),
  error: optional(string),
  error_description: optional(string),
  details: optional(string),
  message: optional(string),
});

function readErrors(body: Uint8Array): readonly RegistryErrorEntry[] {
  let document: ErrorsDocument;
  try {
    document = json.readJson(body, "an error", errorsReader, {
      maxBytes: MAX_ERROR_BODY_BYTES,
      maxDepth: 16,
    });
  } catch {
    // Proxies answer in HTML; the status says enough.
    return [];
  }
  const { errors, error, error_description, details, message } = document;
  if (errors !== undefined) {
    return errors.map((entry) => ({ code: entry.code ?? "", message: entry.message ?? "" }));
  }
  const text = error_description ?? details ?? message ?? "";
  return error === undefined && text === "" ? [] : [{ code: error ?? "", message: text }];
}
