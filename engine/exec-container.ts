/** Another process in a container that runs, on our own streams and terminal. */
import {
  call,
  Fd,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  Root,
  S_IFMT,
  S_IFREG,
  stat,
} from "../linux/index.ts";
import {
  dockerSeccompFilter,
  type ExecedProcess,
  execInContainer,
  LaunchError,
  readContainer,
  receiveDescriptor,
  socketPair,
  waitForChild,
} from "../runtime/index.ts";
import type { ContainerRecord } from "./containers/directory.ts";
import { ContainerError } from "./errors.ts";
import type { ExecRequest } from "./exec.ts";
import type { Places } from "./places.ts";
import { attend } from "./run.ts";
import { forwardSignals } from "./signals.ts";
import { execProcess } from "./spec/exec-process.ts";
import { MAX_ACCOUNT_FILE_BYTES, parseGroup, parsePasswd, resolveUser } from "./spec/users.ts";
import { isTerminal, terminalSize } from "./terminal/raw-mode.ts";

const [STDIN, STDOUT, STDERR] = [0, 1, 2];

/** @returns the exit status as a shell reports it */
export async function execInOwn(
  places: Places,
  record: ContainerRecord,
  { args, env, cwd, user, tty, interactive }: ExecRequest,
): Promise<number> {
  if (tty && interactive && !isTerminal(STDIN))
    throw new ContainerError("Cannot use -t: standard input is not a terminal", {
      hint: "leave out -t where there is no terminal, as in scripts and pipes",
      status: 1,
    });
  const container = readContainer(places.runRoot, record.id);
  const size = terminalSize(STDIN) ?? terminalSize(STDOUT);
  const process = execProcess(
    container.config,
    {
      args,
      terminal: tty,
      env,
      ...(cwd !== undefined && { cwd }),
      ...(tty && size !== undefined && { consoleSize: size }),
    },
    user,
    (name) => readAccount(container.pid, name),
  );
  using signals = forwardSignals(true);
  using nothing = Fd.from("openat", -100, "/dev/null", O_RDWR | O_CLOEXEC);
  const [ours, theirs] = tty ? socketPair() : [];
  let execed: ExecedProcess;
  try {
    execed = execInContainer(container, {
      process,
      stdio: [interactive ? STDIN : nothing.number, STDOUT, STDERR],
      ...(theirs !== undefined && { console: theirs }),
      ...(record.defaultSeccomp === true && {
        seccompFilter: dockerSeccompFilter(process.capabilities?.bounding ?? []),
      }),
    });
  } catch (cause) {
    const status = cause instanceof LaunchError ? cause.exitCode : 1;
    throw new ContainerError(`Cannot run a command in "${record.name}"`, { cause, status });
  } finally {
    theirs?.close();
  }
  const terminal = ours === undefined ? undefined : receiveDescriptor(ours);
  ours?.close();
  signals.target(execed.pidfd);
  await attend(
    { container: execed, ...(terminal !== undefined && { terminal }) },
    { container: { interactive }, detachKeys: new Uint8Array(0) },
  );
  const { code } = waitForChild(execed.pid);
  terminal?.close();
  return code;
}

/** In the container as it is now; its files are not to be trusted. */
function readAccount(pid: number, user: string) {
  using root = Root.open(`/proc/${pid}/root`);
  const text = (path: string): string => {
    try {
      using file = root.open(path, O_RDONLY | O_NONBLOCK);
      return readSmall(file);
    } catch {
      return ""; // an image without accounts has numbers
    }
  };
  return resolveUser(user, [], {
    passwd: () => parsePasswd(text("/etc/passwd")),
    group: () => parseGroup(text("/etc/group")),
  });
}

function readSmall(file: Fd): string {
  const buffer = new Uint8Array(stat.sizeBytes);
  call("fstat", file, buffer);
  if ((stat.decode(buffer).st_mode & S_IFMT) !== S_IFREG) return "";
  const bytes = Buffer.alloc(MAX_ACCOUNT_FILE_BYTES);
  let length = 0;
  for (;;) {
    const count = call("read", file, bytes.subarray(length), bytes.length - length);
    if (count === 0) return bytes.subarray(0, length).toString();
    length += count;
  }
}
