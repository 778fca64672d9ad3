/** Archives between files or our own descriptors and the engine. */
import { createReadStream, createWriteStream, renameSync, rmSync } from "node:fs";
import { Readable, Writable } from "node:stream";
import { UsageError } from "../errors.ts";

/** Standard input, or a file. */
export function openInput(command: string, path: string | undefined): ReadableStream<Uint8Array> {
  if ((path === undefined || path === "-") && process.stdin.isTTY === true) {
    throw new UsageError(command, "Cannot read an archive from a terminal", {
      hint: "name a file, or pipe one in",
    });
  }
  const stream = path === undefined || path === "-" ? process.stdin : createReadStream(path);
  // SAFE: both are byte streams; the type of toWeb says only that it is a stream
  return Readable.toWeb(stream) as ReadableStream<Uint8Array>;
}

/** To a file, which appears when it is complete, or to standard output. */
export async function writeOutput(
  command: string,
  path: string | undefined,
  stream: ReadableStream<Uint8Array>,
): Promise<void> {
  if (path === undefined) {
    if (process.stdout.isTTY === true) {
      await stream.cancel();
      throw new UsageError(command, "Cannot write an archive to a terminal", {
        hint: "name a file with --output, or redirect the output",
      });
    }
    for await (const chunk of stream) await write(process.stdout, chunk);
    return;
  }
  const partial = `${path}.partial`;
  try {
    const file = createWriteStream(partial);
    await stream.pipeTo(Writable.toWeb(file));
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

function write(stream: NodeJS.WriteStream, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}
