// A program for node: hot loops, so that V8 compiles them, and what it is made of.
import { createCipheriv, createHash, pbkdf2Sync } from "node:crypto";
import { brotliCompressSync, gunzipSync, gzipSync } from "node:zlib";

function fib(n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
console.log("fib", fib(27));

const primes = [];
for (let n = 2; primes.length < 5000; n++) if (primes.every((p) => p * p > n || n % p)) primes.push(n);
console.log("primes", primes.at(-1), primes.reduce((sum, p) => (sum * 31 + p) | 0, 0));

let x = 1;
const numbers = Array.from({ length: 20000 }, () => (x = (x * 48271) % 2147483647));
numbers.sort((a, b) => a - b);
console.log("sorted", numbers[0], numbers[10000], numbers.at(-1));

const floats = new Float64Array(30000).map((_, i) => Math.sin(i) * Math.sqrt(i) + Math.atan2(i, 3));
console.log("floats", floats.reduce((sum, value) => sum + value / 7, 0));

const words = "the quick brown fox jumps over the lazy dog ".repeat(500);
const counts = new Map();
for (const [word] of words.matchAll(/\b\w+\b/g)) counts.set(word, (counts.get(word) ?? 0) + 1);
console.log("words", JSON.stringify([...counts].sort()));
console.log("big", (2n ** 521n - 1n) % 1000000007n, (123456789n ** 20n).toString(36));

const bytes = Buffer.from(words.repeat(8));
console.log("sha512", createHash("sha512").update(bytes).digest("hex"));
const cipher = createCipheriv("aes-256-gcm", Buffer.alloc(32, 1), Buffer.alloc(12, 2));
console.log("aes", createHash("md5").update(cipher.update(bytes)).digest("hex"), cipher.final().length);
console.log("pbkdf2", pbkdf2Sync("secret", "salt", 500, 24, "sha256").toString("hex"));
console.log("gzip", gunzipSync(gzipSync(bytes)).equals(bytes), gzipSync(bytes).length);
console.log("brotli", brotliCompressSync(bytes.subarray(0, 50000)).length);

// biome-ignore format: table
const wasm = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 30, 1, 28, 1,
  1, 127, 3, 64, 32, 1, 32, 0, 106, 33, 1, 32, 0, 65, 1, 107, 34, 0, 13, 0, 11, 32, 1, 65, 7, 108, 11,
]);
console.log("wasm", (await WebAssembly.instantiate(wasm)).instance.exports.f(200000));

class Point {
  constructor(a, b) {
    Object.assign(this, { a, b });
  }
  get length() {
    return Math.hypot(this.a, this.b);
  }
}
let total = 0;
for (let round = 0; round < 20; round++) {
  const points = Array.from({ length: 2000 }, (_, i) => new Point(i, i % 17));
  total += points.map((p) => p.length).filter((l) => l > 100).length;
}
console.log("objects", total, structuredClone(new Map([[1, { deep: [new Date(0)] }]])));
await new Promise((resolve) => setTimeout(resolve, 10));
try {
  null.field;
} catch (error) {
  console.log(error.message);
}
