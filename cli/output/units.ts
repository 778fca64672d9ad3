/** Numbers for people, as docker writes them: decimal units, few digits. */

const units = ["B", "kB", "MB", "GB", "TB", "PB"];

/** "4.26MB", with four significant digits at most. */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${trimNumber(value, unit === 0 ? 0 : 3)}${units[unit]}`;
}

/** At most `digits` significant digits, no trailing zeros, never an exponent. */
function trimNumber(value: number, digits: number): string {
  if (digits === 0) return String(Math.round(value));
  const whole = Math.trunc(value).toString().length;
  return String(Number(value.toFixed(Math.max(0, digits - whole))));
}

const spans: readonly (readonly [limit: number, divisor: number, word: string])[] = [
  [120, 60, "minute"],
  [60 * 60, 60, "minutes"],
  [2 * 3600, 3600, "hour"],
  [48 * 3600, 3600, "hours"],
  [14 * 86400, 86400, "days"],
  [60 * 86400, 7 * 86400, "weeks"],
  [2 * 365 * 86400, 30 * 86400, "months"],
  [Number.POSITIVE_INFINITY, 365 * 86400, "years"],
];

/** "5 seconds", "About a minute", "3 weeks": the words docker uses for ages. */
export function formatSpan(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  for (const [limit, divisor, word] of spans) {
    if (seconds >= limit) continue;
    if (word === "minute") return "About a minute";
    if (word === "hour") return "About an hour";
    return `${Math.floor(seconds / divisor)} ${word}`;
  }
  return "";
}

/** "3 weeks ago"; docker writes "N/A" for images that do not say when they were made. */
export function formatAge(then: Date | undefined, now: Date): string {
  if (then === undefined || Number.isNaN(then.getTime())) return "N/A";
  return `${formatSpan(Math.max(0, now.getTime() - then.getTime()))} ago`;
}

/** The first twelve digits of an ID, without "sha256:". */
export function shortId(id: string): string {
  return id.replace(/^sha\d+:/, "").slice(0, 12);
}

/** "0.5s", "1m20s", "2h05m": for rates and remaining time. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)}s`;
  if (seconds < 60) return `${Math.round(seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  const pad = (value: number): string => String(value).padStart(2, "0");
  if (minutes < 60) return `${minutes}m${pad(Math.round(seconds % 60) % 60)}s`;
  return `${Math.floor(minutes / 60)}h${pad(minutes % 60)}m`;
}
