/**
 * D-Bus messages: D-Bus specification 0.42, "Message Protocol".
 *
 * ```
 * 'l' type flags 1 │ u32 body size │ u32 serial │ a(yv) header fields │ padding to 8 │ body
 * ```
 */
import { ProtocolError, splitSignature, type Value, ValueReader, ValueWriter } from "./values.ts";

export type MessageType = "call" | "return" | "error" | "signal";

export interface Message {
  readonly type: MessageType;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly signature?: string;
  readonly body: readonly Value[];
}

const types: readonly MessageType[] = ["call", "return", "error", "signal"];
const littleEndian = "l".charCodeAt(0);
const protocolVersion = 1;
/** Up to and with the size of the array of header fields. */
export const fixedSizeBytes = 16;
/** The specification allows 128 MiB. */
export const messageLimit = 4 * 1024 * 1024;

// biome-ignore format: table
const fields = [
  [1, "o", "path"], [2, "s", "interface"], [3, "s", "member"], [4, "s", "errorName"],
  [5, "u", "replySerial"], [6, "s", "destination"], [8, "g", "signature"],
] as const;

export function encodeMessage(message: Message): Uint8Array {
  const { signature = "", body } = message;
  const bodyTypes = splitSignature(signature);
  if (bodyTypes.length !== body.length)
    throw new ProtocolError(`Expected ${bodyTypes.length} values for the signature "${signature}"`);
  const values = new ValueWriter();
  bodyTypes.forEach((type, index) => {
    values.write(type, body[index] ?? 0);
  });
  const bodyBytes = values.bytes();
  const header = new ValueWriter();
  header.write("y", littleEndian);
  header.write("y", types.indexOf(message.type) + 1);
  header.write("y", 0);
  header.write("y", protocolVersion);
  header.write("u", bodyBytes.length);
  header.write("u", message.serial);
  const given = fields.flatMap(([code, type, name]) => {
    const value = message[name];
    return value === undefined || value === "" ? [] : [[code, { signature: type, value }]];
  });
  header.write("a(yv)", given);
  header.align(8);
  const headerBytes = header.bytes();
  const whole = new Uint8Array(headerBytes.length + bodyBytes.length);
  whole.set(headerBytes);
  whole.set(bodyBytes, headerBytes.length);
  return whole;
}

/** How many bytes the message has whose first `fixedSizeBytes` these are. */
export function messageSize(start: Uint8Array): number {
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  if (start[0] !== littleEndian || start[3] !== protocolVersion)
    throw new ProtocolError("Expected a little-endian D-Bus message of version 1");
  const header = fixedSizeBytes + view.getUint32(12, true);
  const size = header + ((8 - (header % 8)) % 8) + view.getUint32(4, true);
  if (size > messageLimit)
    throw new ProtocolError(`A D-Bus message of ${size} bytes, expected at most ${messageLimit}`);
  return size;
}

/** `bytes` are one whole message. */
export function decodeMessage(bytes: Uint8Array): Message {
  if (bytes.length < fixedSizeBytes || messageSize(bytes) !== bytes.length)
    throw new ProtocolError(`Expected a whole D-Bus message, got ${bytes.length} bytes`);
  const type = types[(bytes[1] ?? 0) - 1];
  // "Message Types": unknown ones must be ignored; they carry nothing for us.
  if (type === undefined) return { type: "signal", serial: 0, body: [] };
  const reader = new ValueReader(bytes);
  for (const skipped of ["u", "u"]) reader.read(skipped);
  const serial = reader.read("u");
  const known = readFields(reader.read("a(yv)"));
  reader.align(8);
  const body = new ValueReader(bytes.subarray(reader.position));
  const values = splitSignature(known.signature ?? "").map((one) => body.read(one));
  return { type, serial: Number(serial), ...known, body: values };
}

type HeaderFields = Omit<Message, "type" | "serial" | "body">;

function readFields(list: Value): HeaderFields {
  const found: Record<string, Value> = {};
  if (!Array.isArray(list)) return {};
  for (const [code, variant] of list) {
    const row = fields.find(([known]) => known === code);
    if (row === undefined) continue;
    if (variant.signature !== row[1])
      throw new ProtocolError(`The D-Bus header field ${code} has the type "${variant.signature}"`);
    found[row[2]] = variant.value;
  }
  // SAFE: each field was read as the type that the table names: a string or a number.
  return found as HeaderFields;
}
