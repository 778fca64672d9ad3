import assert from "node:assert/strict";
import {
  decodeMessage,
  encodeMessage,
  type Message,
  messageLimit,
  messageSize,
} from "../../../runtime/cgroups/systemd/message.ts";
import {
  ProtocolError,
  splitSignature,
  type Value,
  ValueReader,
  ValueWriter,
} from "../../../runtime/cgroups/systemd/values.ts";

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/\s+/g, ""), "hex"));
}

describe("D-Bus values", () => {
  // biome-ignore format: table
  const cases: readonly (readonly [signature: string, value: Value, bytes: string])[] = [
    ["y",       7,                          "07"],
    ["b",       true,                       "01000000"],
    ["n",       -2,                         "feff"],
    ["u",       0xffff_fffe,                "feffffff"],
    ["x",       -1n,                        "ffffffffffffffff"],
    ["t",       2n ** 64n - 1n,             "ffffffffffffffff"],
    ["s",       "foo",                      "03000000 666f6f00"],
    ["g",       "a{sv}",                    "05 617b73767d 00"],
    ["ay",      new Uint8Array([1, 2, 3]),  "03000000 010203"],
    // "Marshaling", the array of one 64-bit number: padding before it does not count in its size.
    ["ax",      [5n],                       "08000000 00000000 0500000000000000"],
    ["as",      ["a", "b"],                 "0e000000 01000000 6100 0000 01000000 6200"],
    ["a(yu)",   [[1, 2]],                   "08000000 00000000 01000000 02000000"],
    ["at",      [],                         "00000000 00000000"],
    ["v",       { signature: "u", value: 3 }, "01 7500 00 03000000"],
    ["a{sv}",   [["k", { signature: "b", value: false }]], "10000000 00000000 01000000 6b00 01 6200 000000 00000000"],
  ];
  for (const [signature, value, bytes] of cases)
    it(`${signature} is written and read as the specification draws it`, () => {
      const writer = new ValueWriter();
      writer.write(signature, value);
      assert.equal(Buffer.from(writer.bytes()).toString("hex"), bytes.replace(/\s+/g, ""));
      assert.deepEqual(new ValueReader(hex(bytes)).read(signature), value);
    });

  // biome-ignore format: table
  for (const [why, signature] of [
    ["an unknown type", "z"], ["an empty struct", "()"], ["an open struct", "(s"], ["an array of nothing", "a"],
    ["a dictionary keyed by variants", "a{vs}"], ["a dictionary entry of three", "a{sss}"],
    ["an entry outside of an array", "{sv}"], ["256 bytes", "s".repeat(256)], ["65 levels", `${"a".repeat(66)}y`],
  ] as const)
    it(`splitSignature() rejects ${why}`, () =>
      assert.throws(() => splitSignature(signature), ProtocolError));

  // biome-ignore format: table
  for (const [why, signature, bytes] of [
    ["a text beyond the end",              "s",  "ff000000 61"],
    ["an array beyond the end",            "ay", "10000000 01"],
    ["an array of more than its limit",    "ay", "ffffff7f"],
    ["elements that pass the array's end", "as", "05000000 03000000 666f6f00"],
    ["a variant of two types",             "v",  "02 757500 00 00000000 00000000"],
  ] as const)
    it(`ValueReader rejects ${why}`, () =>
      assert.throws(() => new ValueReader(hex(bytes)).read(signature), ProtocolError));

  it("ValueReader rejects variants in variants without end", () => {
    const nested = hex("01 76 00".repeat(200));
    assert.throws(() => new ValueReader(nested).read("v"), ProtocolError);
  });

  it("ValueWriter rejects a value of another type, and texts with NUL", () => {
    for (const [type, value] of [
      ["s", 1],
      ["u", "1"],
      ["t", 1],
      ["b", 1],
      ["s", "a\0b"],
      ["(ss)", ["a"]],
    ] as const)
      assert.throws(() => new ValueWriter().write(type, value), ProtocolError);
  });
});

describe("D-Bus messages", () => {
  const call: Message = {
    type: "call",
    serial: 1,
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "Hello",
    destination: "org.freedesktop.DBus",
    body: [],
  };

  it("a call of Hello is what a bus gets from everybody", () => {
    const bytes = encodeMessage(call);
    // Type 1, no body, serial 1; fields of 30, 29, 14 and 29 bytes, all but the last padded to 8.
    assert.equal(
      Buffer.from(bytes.slice(0, 16)).toString("hex"),
      "6c01000100000000010000006d000000",
    );
    assert.equal(bytes.length % 8, 0);
    assert.deepEqual(decodeMessage(bytes), call);
    assert.equal(messageSize(bytes), bytes.length);
  });

  it("a body of every shape survives the way there and back", () => {
    const properties: Value = [
      ["Slice", { signature: "s", value: "a.slice" }],
      ["PIDs", { signature: "au", value: [1, 2] }],
      ["AllowedCPUs", { signature: "ay", value: new Uint8Array([3]) }],
      ["DeviceAllow", { signature: "a(ss)", value: [["char-*", "m"]] }],
    ];
    const message: Message = {
      ...call,
      signature: "ssa(sv)a(sa(sv))",
      body: ["x.scope", "replace", properties, []],
    };
    assert.deepEqual(decodeMessage(encodeMessage(message)), message);
  });

  it("unknown header fields and message types are passed over", () => {
    const bytes = encodeMessage(call);
    bytes[1] = 9;
    assert.equal(decodeMessage(bytes).member, undefined);
  });

  for (const [why, change] of [
    ["big-endian", (bytes: Uint8Array) => bytes.set(Buffer.from("B"), 0)],
    ["of another version", (bytes: Uint8Array) => bytes.set([2], 3)],
    ["larger than its limit", (bytes: Uint8Array) => bytes.set([0xff, 0xff, 0xff, 0x0f], 4)],
  ] as const)
    it(`messageSize() rejects a message ${why}`, () => {
      const bytes = encodeMessage(call);
      change(bytes);
      assert.throws(() => messageSize(bytes), ProtocolError);
      assert.ok(messageLimit > bytes.length);
    });

  it("(fuzz) whatever the bytes, decodeMessage() returns a message or throws ProtocolError", () => {
    const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 3000);
    let state = Number(process.env["FUZZ_SEED"] ?? 1) || 1;
    const random = (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const seeds = [
      encodeMessage(call),
      encodeMessage({
        ...call,
        signature: "a{sv}as",
        body: [[["k", { signature: "at", value: [1n] }]], ["x"]],
      }),
    ];
    let decoded = 0;
    for (let round = 0; round < rounds; round += 1) {
      const bytes = (seeds[round % seeds.length] ?? new Uint8Array()).slice();
      for (let change = random(4); change >= 0; change -= 1)
        bytes[random(bytes.length)] = random(256);
      try {
        decodeMessage(random(8) === 0 ? bytes.slice(0, random(bytes.length)) : bytes);
        decoded += 1;
      } catch (error) {
        assert.ok(error instanceof ProtocolError, `round ${round}: ${String(error)}`);
      }
    }
    assert.ok(decoded > 0 && decoded < rounds);
  });
});
