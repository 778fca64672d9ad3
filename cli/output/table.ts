/** Columns of text as docker prints them: capital headers, three spaces between, left aligned. */

const GAP = 3;

/** Lines of a table; no trailing spaces, a newline after every line. */
export function formatTable(
  headers: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [headers, ...rows];
  const widths = headers.map((_, column) => Math.max(...all.map((row) => widthOf(row[column]))));
  return all
    .map((row) => {
      const cells = row.map((cell, column) => {
        return cell + " ".repeat((widths[column] ?? 0) + GAP - widthOf(cell));
      });
      return `${cells.join("").trimEnd()}\n`;
    })
    .join("");
}

let segmenter: Intl.Segmenter | undefined;

/** Columns a terminal needs for a text: wide characters take two, combining marks none. */
export function widthOf(text = ""): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  segmenter ??= new Intl.Segmenter();
  let width = 0;
  for (const { segment } of segmenter.segment(text)) width += isWide(segment) ? 2 : 1;
  return width;
}

/** East Asian Wide and Fullwidth blocks (Unicode TR11), and pictures. */
function isWide(segment: string): boolean {
  const point = segment.codePointAt(0) ?? 0;
  return (
    (point >= 0x1100 && point <= 0x115f) ||
    (point >= 0x2e80 && point <= 0xa4cf) ||
    (point >= 0xac00 && point <= 0xd7a3) ||
    (point >= 0xf900 && point <= 0xfaff) ||
    (point >= 0xfe30 && point <= 0xfe6f) ||
    (point >= 0xff00 && point <= 0xff60) ||
    (point >= 0xffe0 && point <= 0xffe6) ||
    (point >= 0x1f300 && point <= 0x1faff) ||
    (point >= 0x20000 && point <= 0x3fffd)
  );
}
