/** Run by without-native.test.ts, as a user without rights: IMAGE ROOT. Prints what came of it. */
import assert from "node:assert/strict";
import { run } from "../../../index.ts";
import { hasNativeCode } from "../../../linux/index.ts";

const [, , image = "", root = ""] = process.argv;
assert.ok("nativeIsForbidden" in globalThis);
assert.equal(hasNativeCode(), false, "system calls cannot be made in this process");
assert.notEqual(process.getuid?.(), 0);
await using container = await run({
  image,
  root,
  isolation: "vm",
  cpu: "software",
  interactive: true,
  user: "web",
  command: ["sh", "-c", "cat; id -un; echo problem >&2; exit 5"],
});
const writer = container.stdin?.getWriter();
await writer?.write(Buffer.from("from the host\n"));
await writer?.close();
const text = async (stream: ReadableStream<Uint8Array>) => {
  let all = "";
  for await (const bytes of stream) all += Buffer.from(bytes).toString();
  return all;
};
const [stdout, stderr] = await Promise.all([text(container.stdout), text(container.stderr)]);
const status = await container.wait();
console.log(JSON.stringify({ stdout, stderr, status }));
