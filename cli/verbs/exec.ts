/** `manyworlds exec`. */
import { execForeground } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import type { execFlags } from "../table/other.ts";
import { resolveEnv } from "../values/pair.ts";

export const exec: Handler<typeof execFlags> = async ({ values, args }, { env, root }) => {
  const [container = "", ...command] = args;
  return await execForeground({
    root,
    container,
    args: command,
    env: resolveEnv([...values["env-file"].flat(), ...values.env], env),
    cwd: values.workdir,
    user: values.user,
    tty: values.tty,
    interactive: values.interactive,
  });
};
