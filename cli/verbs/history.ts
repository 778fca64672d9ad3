/** `manyworlds history`. */
import { imageCatalogue } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatListing } from "../output/format.ts";
import { formatAge, formatSize, shortId } from "../output/units.ts";
import type { historyFlags } from "../table/image.ts";
import { parseBoolean } from "../values/scalar.ts";

const TEXT_COLUMNS = 45; // docker's

export const history: Handler<typeof historyFlags> = async ({ values, args }, { root }) => {
  using catalogue = await imageCatalogue(root);
  const [name = ""] = args;
  const whole = values["no-trunc"];
  const human = parseBoolean(values.human ?? "true");
  const now = new Date();
  const rows = catalogue.history(name).map(({ id, created, createdBy, sizeBytes, comment }) => ({
    ID: whole || id.startsWith("<") ? id : shortId(id),
    CreatedSince: human ? formatAge(created, now) : (created?.toISOString() ?? "N/A"),
    CreatedAt: created?.toISOString() ?? "N/A",
    CreatedBy: whole ? createdBy : shorten(createdBy),
    Size: human ? formatSize(sizeBytes) : String(sizeBytes),
    Comment: comment,
  }));
  if (values.quiet) {
    process.stdout.write(rows.map(({ ID }) => `${ID}\n`).join(""));
    return 0;
  }
  const columns = [
    { header: "IMAGE", field: "ID" },
    { header: "CREATED", field: "CreatedSince" },
    { header: "CREATED BY", field: "CreatedBy" },
    { header: "SIZE", field: "Size" },
    { header: "COMMENT", field: "Comment" },
  ] as const;
  process.stdout.write(formatListing({ rows, columns }, values.format));
  return 0;
};

function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > TEXT_COLUMNS ? `${line.slice(0, TEXT_COLUMNS - 1)}…` : line;
}
