/** Paths inside a layer: relative to its root, no ".", no "..", no doubled slashes; "" is the root. */
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { LayerError } from "../errors.ts";

/** An absolute path starts at the root; ".." is refused: no honest layer has it. */
export function normalize(path: ByteString, what: string): ByteString {
  if (!/^\.?\/|\/\.?\/|\/\.?$|\.\.|^\.$/.test(path)) return path;
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes(".."))
    throw new LayerError(
      `Cannot use the ${what} "${byteStringToText(path)}": expected a path inside the image, without ".."`,
    );
  return parts.join("/") as ByteString; // SAFE: made of parts of bytes
}

/** Path without its last component; "" for what lies in the root. */
export function parentOf(path: ByteString): ByteString {
  const slash = path.lastIndexOf("/");
  return (slash < 0 ? "" : path.slice(0, slash)) as ByteString; // SAFE: a part of bytes
}

export function baseOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1) as ByteString; // SAFE: a part of bytes
}

export function joinPath(directory: ByteString, name: ByteString): ByteString {
  return (directory === "" ? name : `${directory}/${name}`) as ByteString; // SAFE: bytes and a slash
}
