/** `manyworlds ps`. */
import { type ContainerLine, listContainers } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import { formatListing } from "../output/format.ts";
import { formatAge, formatSpan, shortId } from "../output/units.ts";
import type { psFlags } from "../table/other.ts";

const COMMAND_COLUMNS = 20; // docker's

export const ps: Handler<typeof psFlags> = async ({ values }, { root }) => {
  const filters = values.filter.map(parseFilter);
  const showsEnded = values.all || values.filter.some((text) => text.startsWith("status="));
  const lines = (await listContainers(root))
    .filter(({ status }) => showsEnded || status === "running")
    .filter((line) => filters.every((filter) => filter(line)));
  const now = new Date();
  const rows = lines.map((line) => toRow(line, now, values["no-trunc"]));
  if (values.quiet) {
    process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(""));
    return 0;
  }
  const columns = [
    { header: "CONTAINER ID", field: "ID" },
    { header: "IMAGE", field: "Image" },
    { header: "COMMAND", field: "Command" },
    { header: "CREATED", field: "RunningFor" },
    { header: "STATUS", field: "Status" },
    { header: "NAMES", field: "Names" },
  ] as const;
  process.stdout.write(formatListing({ rows, columns }, values.format));
  return 0;
};

function toRow(line: ContainerLine, now: Date, whole: boolean) {
  const text = line.command.join(" ");
  const short = text.length > COMMAND_COLUMNS ? `${text.slice(0, COMMAND_COLUMNS - 1)}…` : text;
  return {
    ID: whole ? line.id : shortId(line.id),
    Image: line.image,
    Command: JSON.stringify(whole ? text : short),
    CreatedAt: line.createdAt.toISOString(),
    RunningFor: formatAge(line.createdAt, now),
    State: line.status,
    Status: describeStatus(line, now),
    Names: line.name,
    Labels: Object.entries(line.labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    Networks: line.network,
    Isolation: line.isolation,
  };
}

function describeStatus(
  { status, exitStatus, createdAt, finishedAt }: ContainerLine,
  now: Date,
): string {
  if (status === "running") return `Up ${formatSpan(now.getTime() - createdAt.getTime())}`;
  if (status === "created") return "Created";
  return `Exited (${exitStatus ?? 0}) ${formatAge(finishedAt, now)}`;
}

type Filter = (line: ContainerLine) => boolean;

function parseFilter(text: string): Filter {
  const equals = text.indexOf("=");
  const [key, value] = [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)];
  if (key === "name") return ({ name }) => name.includes(value);
  if (key === "id") return ({ id }) => id.startsWith(value);
  if (key === "status") return ({ status }) => status === value;
  if (key === "ancestor") return ({ image }) => image === value;
  if (key === "label") {
    const [name = "", wanted] = value.split("=", 2);
    return ({ labels }) => name in labels && (wanted === undefined || labels[name] === wanted);
  }
  throw new UsageError("ps", `Invalid filter "${text}"`, {
    hint: "expected name=, id=, status=, ancestor= or label=",
  });
}
