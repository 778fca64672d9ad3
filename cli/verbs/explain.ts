/** `manyworlds explain`: the container's syscall program, which no other tool can show. */
import { type Explanation, explainBundle, explainImage } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { toContainerOptions } from "../container-options.ts";
import { UsageError } from "../errors.ts";
import { openProgress } from "../output/progress.ts";
import type { explainFlags } from "../table/run.ts";

export const explain: Handler<typeof explainFlags> = async ({ values, args }, { env, root }) => {
  const { bundle, format = "text" } = values;
  const [image, ...command] = args;
  if ((bundle === undefined) === (image === undefined)) {
    throw new UsageError("explain", "Expected either an image or --bundle DIR");
  }
  using progress = openProgress(values.quiet ? "none" : values.progress, env);
  const explained =
    bundle !== undefined
      ? await explainBundle(bundle)
      : await explainImage({
          image: image ?? "",
          container: toContainerOptions(values, command, env),
          root,
          pull: values.pull,
          platform: values.platform,
          onProgress: progress.onProgress,
        });
  process.stdout.write(show(explained, format));
  return 0;
};

function show({ config, text, program }: Explanation, format: string): string {
  if (format === "text") return text;
  if (format === "config") return `${JSON.stringify(config, undefined, 2)}\n`;
  if (format === "json") return `${JSON.stringify(program, toJson, 2)}\n`;
  throw new UsageError("explain", `Unknown format "${format}": expected text, json or config`);
}

/** Bytes as hexadecimal, wide numbers as text. */
function toJson(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  return typeof value === "bigint" ? String(value) : value;
}
