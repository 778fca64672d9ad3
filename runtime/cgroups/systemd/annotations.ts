/**
 * Annotations "org.systemd.property.NAME": properties of the unit that the configuration names
 * itself, as runc and crun take them. Values are GVariant text, of which these forms are known:
 * 'text', true, numbers with or without their type, and lists of texts.
 */
import type { Annotations } from "../../../oci/index.ts";
import { type Property, property } from "./property.ts";

const prefix = "org.systemd.property.";
const namePattern = /^[A-Z][A-Za-z]{2,}$/;
/** Those that make the container what it is. */
const reserved = new Set(["Slice", "PIDs", "Delegate", "DefaultDependencies", "ControlGroup"]);

// biome-ignore format: table
const numberTypes: Readonly<Record<string, string>> = {
  byte: "y", int16: "n", uint16: "q", int32: "i", uint32: "u", int64: "x", uint64: "t",
};

export function planAnnotatedProperties(annotations: Annotations = {}): readonly Property[] {
  return Object.entries(annotations).flatMap(([key, text]) => {
    if (!key.startsWith(prefix)) return [];
    const name = key.slice(prefix.length);
    if (!namePattern.test(name) || reserved.has(name))
      throw new Error(`Annotation "${key}": expected the name of a unit's property`);
    const parsed = parseValue(name, text);
    if (parsed === undefined)
      throw new Error(
        `Annotation "${key}": cannot read ${JSON.stringify(text)}, expected 'text', a number, true, false or ['text', …]`,
      );
    return [parsed];
  });
}

function parseValue(name: string, text: string): Property | undefined {
  const [, type = "", digits] = /^\s*(?:([a-z0-9]+)\s+)?(-?\d+)\s*$/.exec(text) ?? [];
  if (digits !== undefined) return parseNumber(name, type, digits);
  if (text === "true" || text === "false") return property(name, "b", text === "true");
  const one = unquote(text);
  if (one !== undefined) return property(name, "s", one);
  const [, list] = /^\s*\[(.*)\]\s*$/.exec(text) ?? [];
  if (list === undefined) return undefined;
  const parts = list.trim() === "" ? [] : list.split(",").map(unquote);
  return parts.every((part) => part !== undefined) ? property(name, "as", parts) : undefined;
}

/** Seconds are written for people; systemd's properties count microseconds. */
function parseNumber(name: string, type: string, digits: string): Property | undefined {
  if (name.endsWith("Sec") && !name.endsWith("USec"))
    return property(`${name.slice(0, -3)}USec`, "t", BigInt(digits) * 1_000_000n);
  const signature = type === "" ? "i" : numberTypes[type];
  if (signature === undefined) return undefined;
  const isLong = signature === "x" || signature === "t";
  return property(name, signature, isLong ? BigInt(digits) : Number(digits));
}

function unquote(text: string): string | undefined {
  return /^\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*$/
    .exec(text)
    ?.slice(1)
    .find((one) => one !== undefined);
}
