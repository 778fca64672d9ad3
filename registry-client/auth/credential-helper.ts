/**
 * Credential helpers: programs named `docker-credential-NAME` that keep logins elsewhere.
 *
 *   get:   server on stdin → {"ServerURL", "Username", "Secret"} on stdout
 *   store: that JSON on stdin
 *   erase: server on stdin
 *
 * Protocol: docker/docker-credential-helpers, README "Development". A failing helper writes its
 * reason on stdout. The username `<token>` says that the secret is an identity token.
 */
import { json, quoteText } from "../../oci/index.ts";
import type { Credentials } from "./credentials.ts";

/** A credential helper is missing, fails or answers nonsense. */
export class CredentialHelperError extends Error {
  override readonly name = "CredentialHelperError";
  readonly program: string;
  constructor(program: string, problem: string, options?: ErrorOptions) {
    super(`Cannot use the credential helper "${program}": ${problem}`, options);
    this.program = program;
  }
}

const TOKEN_USERNAME = "<token>";
/** credentials.NewErrCredentialsNotFound(): the helper works and knows no such login. */
const NOT_FOUND = "credentials not found in native keychain";
const MAX_OUTPUT_BYTES = 1024 * 1024;
const HELPER_TIMEOUT_MS = 60_000;

interface HelperAnswer {
  readonly Username: string;
  readonly Secret: string;
}
const { object, required, string } = json;
const answerReader = object<HelperAnswer>({ Username: required(string), Secret: required(string) });

/** Asks a helper; undefined when it knows no login for this server. */
export async function getFromHelper(
  helper: string,
  server: string,
  options: { readonly signal: AbortSignal },
): Promise<Credentials | undefined> {
  const program = helperProgram(helper);
  const { status, output } = await runHelper(program, "get", server, options.signal);
  if (status !== 0) {
    if (output.trim() === NOT_FOUND) return undefined;
    throw new CredentialHelperError(program, failureText(status, output));
  }
  const { Username, Secret } = readAnswer(program, output);
  if (Username === TOKEN_USERNAME) return { kind: "identity", identityToken: Secret };
  if (Username === "" && Secret === "") return undefined;
  return { kind: "basic", username: Username, password: Secret };
}

export async function storeInHelper(
  helper: string,
  server: string,
  credentials:
    | { readonly username: string; readonly secret: string }
    | { readonly identityToken: string },
  options: { readonly signal: AbortSignal },
): Promise<void> {
  const [Username, Secret] =
    "identityToken" in credentials
      ? [TOKEN_USERNAME, credentials.identityToken]
      : [credentials.username, credentials.secret];
  const input = JSON.stringify({ ServerURL: server, Username, Secret });
  await runChecked(helper, "store", input, options.signal);
}

export async function eraseFromHelper(
  helper: string,
  server: string,
  options: { readonly signal: AbortSignal },
): Promise<void> {
  await runChecked(helper, "erase", server, options.signal);
}

async function runChecked(
  helper: string,
  verb: "store" | "erase",
  input: string,
  signal: AbortSignal,
): Promise<void> {
  const program = helperProgram(helper);
  const { status, output } = await runHelper(program, verb, input, signal);
  if (status !== 0 && output.trim() !== NOT_FOUND) {
    throw new CredentialHelperError(program, failureText(status, output));
  }
}

/** The name comes from a file: it must not be able to name a path. */
function helperProgram(helper: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(helper)) return `docker-credential-${helper}`;
  throw new CredentialHelperError(
    helper,
    `its name is ${quoteText(helper)}, expected a plain name`,
  );
}

function readAnswer(program: string, output: string): HelperAnswer {
  try {
    return json.readJson(output, "its answer", answerReader, {
      maxBytes: MAX_OUTPUT_BYTES,
      maxDepth: 4,
    });
  } catch {
    // The cause would quote the answer, which may hold the secret.
    throw new CredentialHelperError(program, "its answer is not the JSON that was expected");
  }
}

function failureText(status: number | string, output: string): string {
  return `it ended with ${status} and said ${quoteText(output.trim())}`;
}

interface HelperResult {
  /** Exit status, or the name of the signal that ended it. */
  readonly status: number | string;
  readonly output: string;
}

async function runHelper(
  program: string,
  verb: "get" | "store" | "erase",
  input: string,
  signal: AbortSignal,
): Promise<HelperResult> {
  signal.throwIfAborted();
  const { spawn } = await import("node:child_process");
  const timeout = AbortSignal.timeout(HELPER_TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    const fail = (problem: string, cause?: unknown) => {
      reject(
        signal.aborted ? signal.reason : new CredentialHelperError(program, problem, { cause }),
      );
    };
    const child = spawn(program, [verb], {
      stdio: ["pipe", "pipe", "ignore"],
      signal: AbortSignal.any([signal, timeout]),
    });
    const chunks: Buffer[] = [];
    let length = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= MAX_OUTPUT_BYTES) chunks.push(chunk);
      else child.kill("SIGKILL");
    });
    child.on("error", (cause) => fail(startFailure(cause, timeout), cause));
    child.on("close", (code, signalName) => {
      if (length > MAX_OUTPUT_BYTES) fail(`it wrote more than ${MAX_OUTPUT_BYTES} bytes`);
      else
        resolve({
          status: code ?? signalName ?? 1,
          output: Buffer.concat(chunks).toString("utf8"),
        });
    });
    // A helper that ends without reading breaks the pipe; its exit status says more.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
  });
}

function startFailure(cause: Error, timeout: AbortSignal): string {
  if (timeout.aborted) return `it did not end within ${HELPER_TIMEOUT_MS / 1000} seconds`;
  if ("code" in cause && cause.code === "ENOENT") return "it is not in PATH";
  return `it could not be started (${cause.message})`;
}
