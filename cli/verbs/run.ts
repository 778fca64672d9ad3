/** `manyworlds run`. */
import { detaching, runDetached, runForeground, runVmForeground } from "../../engine/index.ts";
import type { Handler, ValuesOf } from "../command.ts";
import { toContainerOptions } from "../container-options.ts";
import { UsageError } from "../errors.ts";
import { openProgress } from "../output/progress.ts";
import { self } from "../self.ts";
import type { runFlags } from "../table/run.ts";
import { statsRequest } from "./cpu-stats.ts";

export const run: Handler<typeof runFlags> = async ({ values, args }, { env, root }) => {
  const [image = "", ...command] = args;
  const isMachine = wantsMachine(values);
  const detached = values.detach ? await detach() : undefined;
  if (typeof detached === "number") return detached;
  const container = toContainerOptions(values, command, env);
  using progress = openProgress(values.quiet ? "none" : values.progress, env);
  const request = {
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
  };
  if (detached !== undefined && !isMachine)
    return await runDetached({ ...request, ...detached, self: self() });
  const { status, id } = isMachine
    ? await runVmForeground({
        ...request,
        ...detached,
        ...statsRequest("run", values["cpu-stats"]),
        cpu: values.cpu,
        kernel: values.kernel,
        cold: values["vm-cold"],
        ...(values["vm-console"] && { onConsole: (bytes) => process.stderr.write(bytes) }),
      })
    : await runForeground(request);
  if (status === undefined) process.stderr.write(`Detached from ${id.slice(0, 12)}\n`);
  return status ?? 0;
};

/** In the process that was called: its exit status. In the one that it starts: how to say the ID. */
async function detach(): Promise<number | { readonly report: (id: string) => void }> {
  const { detachedReport, startDetached } = await detaching();
  const report = detachedReport();
  if (report !== undefined) return { report };
  const started = await startDetached([...self(), ...process.argv.slice(2)]);
  if ("status" in started) return started.status;
  process.stdout.write(`${started.id}\n`);
  return 0;
}

/** Flags that only a machine understands ask for one; they never turn into nothing. */
function wantsMachine({
  isolation,
  cpu,
  kernel,
  "cpu-stats": stats,
  "vm-cold": cold,
  "vm-console": console,
}: Pick<
  ValuesOf<typeof runFlags>,
  "isolation" | "cpu" | "cpu-stats" | "kernel" | "vm-cold" | "vm-console"
>): boolean {
  if (isolation === "vm") return true;
  const asked = [cpu, stats, kernel].some((value) => value !== undefined) || cold || console;
  if (!asked) return false;
  if (isolation !== "container") return true;
  const flags = "--cpu, --cpu-stats, --kernel, --vm-cold and --vm-console";
  throw new UsageError("run", `${flags} are about virtual machines`, {
    hint: "leave them out, or use --isolation vm",
  });
}
