/** `manyworlds push`: the digest on standard output. */
import { push as pushImage } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { openProgress } from "../output/progress.ts";
import type { pushFlags } from "../table/image.ts";
import { abortOnSignal } from "./abort.ts";

export const push: Handler<typeof pushFlags> = async ({ values, args }, { env, root }) => {
  const [name = ""] = args;
  using stop = abortOnSignal();
  using progress = openProgress(values.quiet ? "none" : values.progress, env);
  const { onProgress } = progress;
  const digest = await pushImage(name, { root, signal: stop.signal, onProgress });
  process.stdout.write(`${digest}\n`);
  return 0;
};
