import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import zlib, { gzipSync } from "node:zlib";
import { type Decoder, detectCompression, openDecoder } from "../../image/decoder.ts";
import { FzstdDecoder } from "../../image/decoder-fzstd.ts";
import { seededRandom } from "./collect.ts";

const text = Buffer.from(Array.from({ length: 700_000 }, (_, i) => ((i * i * 7919) >> 5) & 63));
const zstd = (bytes: Uint8Array) =>
  execFileSync("zstd", ["-q", "-c", "--check"], { input: bytes, maxBuffer: 1 << 26 });
/** RFC 8878 §3.1.2: a frame that decoders pass over; zstd:chunked layers end with one. */
function skippable(): Buffer {
  const frame = Buffer.alloc(18);
  frame.writeUInt32LE(0x184d2a50, 0);
  frame.writeUInt32LE(10, 4);
  return frame;
}

type Open = (output: (chunk: Uint8Array) => void) => Promise<Decoder>;
const decoders: readonly (readonly [string, (bytes: Uint8Array) => Buffer, Open])[] = [
  ["gzip", (bytes) => gzipSync(bytes), (output) => openDecoder("gzip", output)],
  ["zstd", zstd, (output) => openDecoder("zstd", output)],
  ["zstd without native code", zstd, async (output) => new FzstdDecoder(output)],
];

/** By name: on Node, mocha may hold the class twice, as CommonJS and as a module. */
function isLayerError(error: unknown): boolean {
  return error instanceof Error && error.name === "LayerError";
}

async function decode(open: Open, bytes: Uint8Array, step: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  using decoder = await open((chunk) => void parts.push(Buffer.from(chunk)));
  for (let at = 0; at < bytes.length; at += step) decoder.push(bytes.subarray(at, at + step));
  decoder.finish();
  return Buffer.concat(parts);
}

describe("image/decoder", () => {
  for (const [name, compress, open] of decoders) {
    for (const step of [1 << 20, 1000, 7]) {
      it(`${name} is decoded from pieces of ${step} bytes`, async () => {
        assert.ok((await decode(open, compress(text), step)).equals(text));
      });
      it(`${name} with several members is decoded from pieces of ${step} bytes`, async () => {
        const small = Buffer.from("small");
        const filler = name === "gzip" ? Buffer.alloc(0) : skippable();
        const members = [filler, compress(text), filler, compress(small), compress(text), filler];
        const want = Buffer.concat([text, small, text]);
        assert.ok((await decode(open, Buffer.concat(members), step)).equals(want));
      });
    }

    it(`${name} that is damaged is refused`, async () => {
      const bytes = compress(text);
      for (const at of [bytes.length >> 1, bytes.length - 3]) {
        const bad = Buffer.from(bytes);
        bad[at] = (bad[at] ?? 0) ^ 0xff;
        let result: Buffer | undefined;
        try {
          result = await decode(open, bad, 4096);
        } catch (error) {
          assert.ok(isLayerError(error), String(error));
          continue;
        }
        // fzstd does not look at checksums; the layer's digest does.
        const checks = name === "gzip" || (name === "zstd" && "createZstdDecompress" in zlib);
        if (checks) assert.fail(`accepted, ${result.length} bytes`);
      }
    });

    it(`${name} that is cut never gives all its content silently`, async () => {
      const bytes = compress(text);
      for (const cut of [1, 20, bytes.length >> 1, bytes.length - 20]) {
        const result = await decode(open, bytes.subarray(0, cut), 4096).catch((error) => error);
        assert.ok(isLayerError(result) || (result as Buffer).length < text.length);
      }
    });

    it(`${name} decoders survive noise (fuzz)`, async () => {
      const seed = Number(process.env["FUZZ_SEED"] ?? 7);
      const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 60);
      const random = seededRandom(seed);
      const source = compress(text.subarray(0, 50_000));
      for (let round = 0; round < rounds; round++) {
        const bytes = Buffer.from(source);
        for (let i = 0; i < 4; i++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
        const result = await decode(open, bytes, 512).catch((error) => error);
        const fine = isLayerError(result) || Buffer.isBuffer(result);
        assert.ok(fine, `seed ${seed}, round ${round}: ${(result as Error).stack}`);
      }
    });
  }

  it("gzip padded with zeros is decoded", async () => {
    const padded = Buffer.concat([gzipSync(text), Buffer.alloc(700)]);
    const open: Open = (output) => openDecoder("gzip", output);
    assert.ok((await decode(open, padded, 512)).equals(text));
  });

  for (const [bytes, want] of [
    [gzipSync("x"), "gzip"],
    [zstd(Buffer.from("x")), "zstd"],
    [skippable(), "zstd"],
    [Buffer.alloc(512), "none"],
    [Buffer.alloc(0), "none"],
    [Buffer.from([0x1f]), "none"],
  ] as const)
    it(`detectCompression() says ${want} of ${bytes.subarray(0, 4).toString("hex") || "nothing"}`, () => {
      assert.equal(detectCompression(bytes), want);
    });
});
