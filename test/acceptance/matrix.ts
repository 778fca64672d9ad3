/** Rows by rungs, as a table for the log. */
import { rows } from "./rows.ts";
import { rungs } from "./rungs.ts";

/** "differs": as written down in rows.ts. */
export type Verdict = "kept" | "differs" | "broken";

export function formatMatrix(verdicts: ReadonlyMap<string, Verdict>): string {
  const width = Math.max(...rows.map(({ what }) => what.length)) + 2;
  const line = (what: string, cells: readonly string[]): string =>
    `    ${what.padEnd(width)}${cells.map((cell) => cell.padEnd(13)).join("")}`.trimEnd();
  return [
    "",
    line(
      "",
      rungs.map(({ name }) => name),
    ),
    ...rows.map(({ what }) =>
      line(
        what,
        rungs.map(({ name }) => verdicts.get(`${what}/${name}`) ?? "not here"),
      ),
    ),
  ].join("\n");
}
