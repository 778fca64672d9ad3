/**
 * What --format may say, for every verb that lists things: table (the default), `table TEMPLATE`,
 * json (one array), jsonl (one object a line, as docker's `json`), or a template for each row.
 */
import { formatTable } from "./table.ts";
import { parseTemplate } from "./template.ts";

export interface Column<Row> {
  readonly header: string;
  /** Name of the field in templates and JSON. */
  readonly field: keyof Row & string;
}

export interface Listing<Row> {
  readonly rows: readonly Row[];
  /** Columns of the default table. */
  readonly columns: readonly Column<Row>[];
  /** Header of fields that the default table does not show. */
  readonly headers?: Readonly<Partial<Record<keyof Row, string>>>;
}

/** The text that goes to standard output. */
export function formatListing<Row extends object>(
  listing: Listing<Row>,
  format: string | undefined,
): string {
  const { rows, columns } = listing;
  if (format === undefined || format === "" || format === "table") {
    const cells = rows.map((row) => columns.map(({ field }) => String(row[field])));
    return formatTable(
      columns.map(({ header }) => header),
      cells,
    );
  }
  if (format === "json") return `${JSON.stringify(rows, undefined, 2)}\n`;
  if (format === "jsonl") return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  if (format.startsWith("table ")) return formatTemplateTable(listing, format.slice(6));
  const template = parseTemplate(format);
  return rows.map((row) => `${template(row)}\n`).join("");
}

/** `table {{.A}}\t{{.B}}`: tabs part the columns, headers come from the fields' names. */
function formatTemplateTable<Row extends object>(listing: Listing<Row>, text: string): string {
  const headers: Record<string, string> = {};
  for (const key of Object.keys(listing.rows[0] ?? {})) headers[key] = headerOf(key);
  for (const { field, header } of listing.columns) headers[field] = header;
  Object.assign(headers, listing.headers);
  const template = parseTemplate(text.trim());
  const head = parseTemplate(text.trim().replace(/\{\{(?:-\s)?\s*\w+\s+(\.\w+)/g, "{{$1"));
  const split = (line: string): string[] => line.split("\t");
  return formatTable(
    split(head(headers)),
    listing.rows.map((row) => split(template(row))),
  );
}

/** "CreatedAt" → "CREATED AT". */
function headerOf(field: string): string {
  return field.replace(/([a-z])([A-Z])/g, "$1 $2").toUpperCase();
}

/** One value (version, info, inspect): JSON unless a template is given. */
export function formatValue(value: unknown, format: string | undefined): string {
  if (format === undefined || format === "" || format === "json") {
    return `${JSON.stringify(value, undefined, 4)}\n`;
  }
  return `${parseTemplate(format)(value)}\n`;
}
