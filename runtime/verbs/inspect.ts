/** `state`, `list`, `ps`: verbs that only look. */
import { cgroupProcesses } from "../cgroups/cgroup.ts";
import { type Container, listContainers, ociState, readContainer } from "../state.ts";
import { parseOptions, UsageError } from "./command-line.ts";
import type { VerbContext } from "./context.ts";
import { containerId } from "./create.ts";

export function state(args: readonly string[], { stateRoot, print }: VerbContext): number {
  const container = readContainer(stateRoot, containerId(parseOptions(args, {}), "state"));
  print(`${JSON.stringify(describe(container), undefined, 2)}\n`);
  return 0;
}

function describe(container: Container) {
  const { id, pid, status, rootfs, created, bundle, config, owner } = container;
  return {
    ociVersion: ociState(container, status, pid).ociVersion,
    id,
    pid,
    status,
    bundle,
    rootfs,
    created,
    ...(config.annotations === undefined ? {} : { annotations: config.annotations }),
    owner: owner === 0 ? "root" : String(owner),
  };
}

export function list(args: readonly string[], { stateRoot, print }: VerbContext): number {
  const options = parseOptions(
    args,
    { format: "text", quiet: "boolean" },
    { f: "format", q: "quiet" },
  );
  const containers = listContainers(stateRoot);
  if (options.flag("quiet")) {
    print(containers.map(({ id }) => `${id}\n`).join(""));
    return 0;
  }
  const format = options.text("format") ?? "table";
  if (format === "json") print(`${JSON.stringify(containers.map(describe))}\n`);
  else if (format === "table") print(formatTable(containers));
  else throw new UsageError("invalid format option");
  return 0;
}

function formatTable(containers: readonly Container[]): string {
  const rows = [
    ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
    ...containers
      .map(describe)
      .map(({ id, pid, status, bundle, created, owner }) => [
        id,
        String(pid),
        status,
        bundle,
        created,
        owner,
      ]),
  ];
  const widths = rows[0]?.map((_, column) =>
    Math.max(12, ...rows.map((row) => (row[column]?.length ?? 0) + 3)),
  );
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
          .join("")
          .trimEnd()}\n`,
    )
    .join("");
}

/** As runc: PIDs as JSON, or the lines of ps(1) that belong to the container. */
export function ps(args: readonly string[], { stateRoot, print }: VerbContext): number {
  const options = parseOptions(args, { format: "text" }, { f: "format" });
  const [id, ...psArguments] = options.rest;
  if (id === undefined) throw new UsageError('"ps" requires a minimum of 1 argument');
  const container = readContainer(stateRoot, id);
  const pids = container.cgroup === undefined ? [container.pid] : cgroupProcesses(container.cgroup);
  const format = options.text("format") ?? "table";
  if (format === "json") print(`${JSON.stringify(pids)}\n`);
  else if (format === "table") print(filterPs(pids, psArguments));
  else throw new UsageError("invalid format option");
  return 0;
}

function filterPs(pids: readonly number[], args: readonly string[]): string {
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const { stdout, error } = spawnSync("ps", args.length > 0 ? [...args] : ["-ef"], {
    encoding: "utf8",
  });
  if (error !== undefined) throw new Error(`Cannot run ps: ${error.message}`, { cause: error });
  const [title = "", ...lines] = stdout.split("\n");
  const column = title.trim().split(/\s+/).indexOf("PID");
  if (column < 0) throw new Error("couldn't find PID field in ps output");
  const own = lines.filter((line) => pids.includes(Number(line.trim().split(/\s+/)[column])));
  return `${[title, ...own].join("\n")}\n`;
}
