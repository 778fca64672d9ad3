/** `--cidfile`: where scripts read which container they have started. */
import { writeFileSync } from "node:fs";
import { ContainerError } from "./errors.ts";

/** Throws ContainerError when there is such a file already: it may be another container's. */
export function writeIdFile(path: string, id: string): void {
  try {
    writeFileSync(path, id, { flag: "wx" });
  } catch (cause) {
    throw new ContainerError(`Cannot write the container's ID to "${path}"`, {
      cause,
      hint: "expected a file that does not exist yet",
    });
  }
}
