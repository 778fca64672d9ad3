/** Which part of a log is wanted. */
import { parseDurationMs } from "./scalar.ts";

/** "all", or a number of lines. */
export function parseTail(text: string): number | undefined {
  if (text === "all") return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new SyntaxError('expected "all" or a number of lines');
}

/** A date, seconds since 1970, or how long ago: "90s", "1h30m". @returns milliseconds since 1970 */
export function parseSince(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/[a-z]$/.test(text)) return Date.now() - parseDurationMs(text);
  const time = Date.parse(text);
  if (!Number.isNaN(time)) return time;
  throw new SyntaxError("expected a date such as 2026-01-31T12:00:00Z, or a time ago such as 10m");
}
