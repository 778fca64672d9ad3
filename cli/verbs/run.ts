/** `manyworlds run`. */
import { runForeground } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { toContainerOptions } from "../container-options.ts";
import { UsageError } from "../errors.ts";
import { openProgress } from "../output/progress.ts";
import type { runFlags } from "../table/run.ts";

export const run: Handler<typeof runFlags> = async ({ values, args }, { env, root }) => {
  const [image = "", ...command] = args;
  if (values.isolation === "vm") {
    throw new UsageError("run", 'Isolation "vm" is not supported yet', {
      hint: "leave the flag out: a container is the only isolation of this release",
    });
  }
  const container = toContainerOptions(values, command, env);
  using progress = openProgress(values.quiet ? "none" : values.progress, env);
  const { status, id } = await runForeground({
    image,
    container,
    root,
    name: values.name,
    remove: values.rm,
    pull: values.pull,
    platform: values.platform,
    idFile: values.cidfile,
    detachKeys: values["detach-keys"],
    forwardSignals: values["sig-proxy"] ?? true,
    onProgress: progress.onProgress,
    onReady: () => progress[Symbol.dispose](),
  });
  if (status === undefined) process.stderr.write(`Detached from ${id.slice(0, 12)}\n`);
  return status ?? 0;
};
