/** `manyworlds login`: asks for what is not given; a password is never shown. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { login as logIn } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import type { loginFlags } from "../table/image.ts";
import { abortOnSignal } from "./abort.ts";

const DEFAULT_SERVER = "docker.io";
const PASSWORD_LIMIT_BYTES = 64 * 1024;

export const login: Handler<typeof loginFlags> = async ({ values, args }) => {
  const server = args[0] ?? DEFAULT_SERVER;
  const { username: given, password: shown } = values;
  const fromInput = values["password-stdin"];
  if (fromInput && shown !== undefined) {
    throw new UsageError("login", "Cannot use --password and --password-stdin together");
  }
  if (fromInput && given === undefined) {
    throw new UsageError("login", "Cannot use --password-stdin without --username");
  }
  const interactive = process.stdin.isTTY === true;
  if (!interactive && !fromInput && (given === undefined || shown === undefined)) {
    throw new UsageError("login", "Cannot ask for a password: standard input is not a terminal", {
      hint: "echo PASSWORD | manyworlds login --username NAME --password-stdin SERVER",
    });
  }
  if (shown !== undefined) {
    process.stderr.write("warning: --password can be seen by others: use --password-stdin\n");
  }
  using stop = abortOnSignal();
  const username = given ?? (await ask("Username: ", false));
  const password = fromInput ? await readPassword() : (shown ?? (await ask("Password: ", true)));
  const onWarning = (text: string): void => void process.stderr.write(`warning: ${text}\n`);
  const where = await logIn(server, { username, password, signal: stop.signal, onWarning });
  process.stderr.write(`The login is kept in ${where}\n`);
  process.stdout.write("Login Succeeded\n");
  return 0;
};

async function ask(question: string, hidden: boolean): Promise<string> {
  process.stderr.write(question);
  // readline echoes what is typed to its output: for a password that is nowhere
  const output = hidden
    ? new Writable({ write: (_chunk, _encoding, done) => done() })
    : process.stderr;
  const reader = createInterface({ input: process.stdin, output, terminal: true });
  try {
    return await reader.question("");
  } finally {
    reader.close();
    if (hidden) process.stderr.write("\n");
  }
}

/** All of standard input without the line end that `echo` adds. */
async function readPassword(): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > PASSWORD_LIMIT_BYTES) {
      throw new UsageError("login", "Cannot read the password: expected at most 64 KiB");
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks)
    .toString()
    .replace(/\r?\n$/, "");
}
