/** `manyworlds pull`: the image's digest and name on standard output, all else on standard error. */
import { pull as pullImage, tagsOf } from "../../engine/index.ts";
import { familiarName, parseRepositoryReference } from "../../oci/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import { openProgress } from "../output/progress.ts";
import type { pullFlags } from "../table/image.ts";
import { abortOnSignal } from "./abort.ts";

export const pull: Handler<typeof pullFlags> = async ({ values, args }, { env, root }) => {
  const [name = ""] = args;
  using stop = abortOnSignal();
  using progress = openProgress(values.quiet ? "none" : values.progress, env);
  const { onProgress } = progress;
  const { signal } = stop;
  const names = values["all-tags"] ? await allTags(name, signal) : [name];
  for (const each of names) {
    const { reference, digest, upToDate } = await pullImage(each, {
      root,
      platform: values.platform,
      signal,
      onProgress,
    });
    onProgress({ type: "status", text: `Digest: ${digest}` });
    const what = upToDate ? "Image is up to date for" : "Downloaded newer image for";
    onProgress({ type: "status", text: `Status: ${what} ${reference}` });
    process.stdout.write(`${reference}\n`);
  }
  return 0;
};

async function allTags(name: string, signal: AbortSignal): Promise<string[]> {
  const reference = parseRepositoryReference(name);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new UsageError("pull", `Cannot pull all tags of "${name}": it names one`, {
      hint: "leave the tag out",
    });
  }
  const tags = await tagsOf(name, { signal });
  return tags.map((tag) => `${familiarName(reference)}:${tag}`);
}
