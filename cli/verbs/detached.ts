/** `manyworlds logs`, `stop`, `kill`, `wait`. */
import { killContainer, showLogs, stopContainer, waitForContainer } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatError } from "../errors.ts";
import type { killFlags, logsFlags, stopFlags, waitFlags } from "../table/detached.ts";

const DEFAULT_SECONDS = 10;

export const logs: Handler<typeof logsFlags> = async ({ values, args }, { root }) => {
  await showLogs(root, {
    container: args[0] ?? "",
    follow: values.follow,
    tail: values.tail,
    since: values.since,
    timestamps: values.timestamps,
    write: (stream, bytes) => void (stream === 1 ? process.stdout : process.stderr).write(bytes),
  });
  return 0;
};

export const stop: Handler<typeof stopFlags> = ({ values, args }, { root }) => {
  const timeoutMs = (values.time ?? DEFAULT_SECONDS) * 1000;
  return forEach(args, async (name) => {
    await stopContainer(root, name, { signal: values.signal, timeoutMs });
    return name;
  });
};

export const kill: Handler<typeof killFlags> = ({ values, args }, { root }) =>
  forEach(args, async (name) => {
    await killContainer(root, name, values.signal ?? "KILL");
    return name;
  });

export const wait: Handler<typeof waitFlags> = ({ args }, { root }) =>
  forEach(args, async (name) => String(await waitForContainer(root, name)));

/** What each comes to goes to standard output; one that fails does not hinder the others. */
async function forEach(
  names: readonly string[],
  act: (name: string) => Promise<string>,
): Promise<number> {
  let failed = false;
  for (const name of names) {
    try {
      process.stdout.write(`${await act(name)}\n`);
    } catch (error) {
      failed = true;
      process.stderr.write(`${formatError(error, false)}\n`);
    }
  }
  return failed ? 1 : 0;
}
