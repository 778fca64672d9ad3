/** `manyworlds images`. */
import { type ImageLine, imageCatalogue } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import { type Column, formatListing } from "../output/format.ts";
import { formatAge, formatSize, shortId } from "../output/units.ts";
import type { imagesFlags } from "../table/image.ts";

/** docker's fields for --format. */
interface Row {
  readonly ID: string;
  readonly Repository: string;
  readonly Tag: string;
  readonly Digest: string;
  readonly CreatedSince: string;
  readonly CreatedAt: string;
  readonly Size: string;
}

export const images: Handler<typeof imagesFlags> = async ({ values, args }, { root }) => {
  using catalogue = await imageCatalogue(root);
  const [wanted] = args;
  const filters = values.filter.map(parseFilter);
  const lines = catalogue
    .list()
    .filter((line) => wanted === undefined || catalogue.matches(line, wanted))
    .filter((line) => filters.every((filter) => filter(line)));
  const now = new Date();
  const rows = lines.map((line) => toRow(line, now, values["no-trunc"]));
  if (values.quiet) {
    process.stdout.write([...new Set(rows.map(({ ID }) => `${ID}\n`))].join(""));
    return 0;
  }
  const columns: Column<Row>[] = [
    { header: "REPOSITORY", field: "Repository" },
    { header: "TAG", field: "Tag" },
    ...(values.digests ? [{ header: "DIGEST", field: "Digest" } as const] : []),
    { header: "IMAGE ID", field: "ID" },
    { header: "CREATED", field: "CreatedSince" },
    { header: "SIZE", field: "Size" },
  ];
  process.stdout.write(
    formatListing({ rows, columns, headers: { ID: "IMAGE ID" } }, values.format),
  );
  return 0;
};

function toRow(line: ImageLine, now: Date, whole: boolean): Row {
  const { id, created, repository, tag, digest, sizeBytes } = line;
  return {
    ID: whole ? id : shortId(id),
    Repository: repository,
    Tag: tag,
    Digest: digest,
    CreatedSince: formatAge(created, now),
    CreatedAt: created?.toISOString() ?? "N/A",
    Size: formatSize(sizeBytes),
  };
}

type Filter = (line: ImageLine) => boolean;

function parseFilter(text: string): Filter {
  const equals = text.indexOf("=");
  const [key, value] = [text.slice(0, Math.max(0, equals)), text.slice(equals + 1)];
  if (key === "dangling") return ({ tag }) => (tag === "<none>") === (value !== "false");
  if (key === "reference") return ({ repository, tag }) => globs(value, repository, tag);
  if (key === "label") {
    const [name = "", wanted] = value.split("=", 2);
    return ({ labels }) => name in labels && (wanted === undefined || labels[name] === wanted);
  }
  throw new UsageError("images", `Invalid filter "${text}"`, {
    hint: "expected dangling=true, label=KEY[=VALUE] or reference=PATTERN",
  });
}

/** path.Match of Go: "*" within one part of the name, "?" one character. */
function globs(pattern: string, repository: string, tag: string): boolean {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  const source = escaped.replaceAll("*", "[^/]*").replaceAll("?", "[^/]");
  const regex = new RegExp(`^${source}$`);
  return regex.test(repository) || regex.test(`${repository}:${tag}`);
}
