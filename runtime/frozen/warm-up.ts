/**
 * What the process to be frozen does beforehand, so that it has been done once: a container is made,
 * started and deleted, whose command is a program of two rows. Whatever of it is refused here, the
 * rest is warm all the same.
 */
import { encodeElf, encodeUtf8, syscall } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { makeDirectories, removeTree, writeText } from "../files.ts";
import { exampleConfig } from "../verbs/spec.ts";
import { imageDirectory } from "./layout.ts";

const command = "true";

/** `main` is the command line's; nothing that it does here reaches anybody. */
export async function warmUp(main: (words: readonly string[]) => Promise<number>): Promise<void> {
  const directory = `${imageDirectory}/warm-${syscall("getpid")}`;
  const id = `manyworlds-warm-${syscall("getpid")}`;
  const verb = (...words: readonly string[]) => main(["--root", `${directory}/state`, ...words]);
  try {
    writeBundle(directory);
    await verb("run", "--detach", "--bundle", directory, `${id}-run`);
    await verb("delete", "--force", `${id}-run`);
    await verb("create", "--bundle", directory, id);
    await verb("start", id);
    await verb("delete", "--force", id);
    await verb("state", id);
  } catch {
    // No directory, or no namespaces: the first start will be colder.
  }
  removeTree(directory);
}

function writeBundle(directory: string): void {
  makeDirectories(`${directory}/rootfs`, 0o700);
  const file = encodeElf({ rows: [{ call: "exit_group", args: [0] }] });
  writeText(`${directory}/rootfs/${command}`, file, 0o700);
  writeText(`${directory}/config.json`, encodeUtf8(JSON.stringify(warmConfig())), 0o600);
}

function warmConfig(): RuntimeConfig {
  const { process, ...config } = exampleConfig();
  if (process === undefined) throw new Error("The example has a process");
  return { ...config, process: { ...process, terminal: false, args: [`/${command}`] } };
}
