/**
 * Where a bench keeps what it and its peers write: in memory when there is room, because a disk that
 * is shared or throttled takes longer than all of them together, and differently each time.
 */
import { mkdtempSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const memoryFolder = "/dev/shm";
const roomBytes = 4 * 2 ** 30;

export function makeFolder(name: string): string {
  return mkdtempSync(join(hasRoom() ? memoryFolder : tmpdir(), `manyworlds-${name}-`));
}

export function folderNote(): string {
  return hasRoom() ? `stores in memory (${memoryFolder})` : `stores on disk (${tmpdir()})`;
}

function hasRoom(): boolean {
  try {
    const { bavail, bsize } = statfsSync(memoryFolder);
    return bavail * bsize > roomBytes;
  } catch {
    return false;
  }
}
