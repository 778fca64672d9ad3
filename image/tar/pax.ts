/**
 * PAX extended headers (POSIX.1-2017 pax, "pax Extended Header"): records of the form
 * `LENGTH KEY=VALUE\n`, LENGTH in decimal and counting itself. Keys are text, values stay bytes:
 * an extended attribute may hold anything.
 */
import { bytesToString } from "../byte-string.ts";
import { LayerError } from "../errors.ts";

export interface PaxRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

/** Records in their order; GNU sparse 0.0 repeats keys, so a map would lose some. */
export function decodePax(bytes: Uint8Array, where: string): PaxRecord[] {
  const records: PaxRecord[] = [];
  let position = 0;
  while (position < bytes.length) {
    const space = bytes.indexOf(0x20, position);
    const length = space < 0 ? Number.NaN : decimal(bytes, position, space);
    const end = position + length;
    const equals = space < 0 ? -1 : bytes.indexOf(0x3d, space);
    const fits =
      end <= bytes.length && equals > space + 1 && equals < end && bytes[end - 1] === 0x0a;
    if (!fits)
      throw new LayerError(
        `Cannot read ${where}: damaged PAX record at byte ${position}, expected "LENGTH KEY=VALUE"`,
      );
    records.push({
      key: bytesToString(bytes, space + 1, equals),
      value: bytes.subarray(equals + 1, end - 1),
    });
    position = end;
  }
  return records;
}

/** Seconds and nanoseconds of a decimal time; the fraction always counts upwards. */
export function decodePaxTime(
  value: Uint8Array,
  where: string,
): { readonly seconds: number; readonly nanoseconds: number } {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(bytesToString(value));
  if (match === null) throw new LayerError(`Cannot read ${where}: a PAX time is no decimal number`);
  const [, sign, whole = "0", fraction = ""] = match;
  const nanoseconds = Number(fraction.padEnd(9, "0").slice(0, 9));
  if (sign !== "-") return { seconds: Number(whole), nanoseconds };
  if (nanoseconds === 0) return { seconds: 0 - Number(whole), nanoseconds: 0 };
  return { seconds: -Number(whole) - 1, nanoseconds: 1e9 - nanoseconds };
}

/** A non-negative decimal integer. */
export function decodePaxInteger(value: Uint8Array, key: string, where: string): number {
  const number = decimal(value, 0, value.length);
  if (Number.isSafeInteger(number)) return number;
  throw new LayerError(`Cannot read ${where}: PAX ${key} is no decimal number below 2^53`);
}

function decimal(bytes: Uint8Array, start: number, end: number): number {
  if (end <= start || end - start > 16) return Number.NaN;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}
