/** A cpio archive in "newc" format (Linux Documentation/driver-api/early-userspace/buffer-format.rst). */
export type Entry = { readonly name: string; readonly mode: number; readonly data: Uint8Array };

export function writeCpio(entries: readonly Entry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const trailer = { name: "TRAILER!!!", mode: 0, data: new Uint8Array(0) };
  for (const [i, { name, mode, data }] of [...entries, trailer].entries()) {
    const nameBytes = new TextEncoder().encode(`${name}\0`);
    const fields = [i + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, nameBytes.length, 0];
    const header = `070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}`;
    parts.push(padded(new TextEncoder().encode(header), nameBytes), padded(data));
  }
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const archive = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

function padded(...chunks: readonly Uint8Array[]): Uint8Array {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const out = new Uint8Array(Math.ceil(size / 4) * 4);
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
}
