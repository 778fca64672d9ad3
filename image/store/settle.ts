/**
 * Layers and power failures.
 *
 * Blobs and records are flushed before they get their names; unpacked layers are not, for that
 * would make every pull wait for the disk although all can be unpacked again. So a layer is marked
 * once the file system has been flushed (`settle`, at some quiet time), and after a reboot the
 * layers without mark, whose files may be empty, are removed before anybody uses them.
 */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { call } from "../../linux/index.ts";
import { textToByteString } from "../byte-string.ts";
import { openDirectory, removeTree } from "../directory.ts";
import { readIfExists, replaceFile } from "./files.ts";
import type { Layout } from "./layout.ts";
import { tryLock } from "./lock.ts";

const MARK = "settled";
const BOOT_FILE = "boot";
/** Linux writes dirty pages after 30 s, so a flush is cheap then (proc_sys_vm, dirty_expire). */
const QUIET_MS = 60_000;

/** Marks the layers that are safely on disk, after a flush if there are any to mark. */
export function settleLayers(layout: Layout, { onlyOld = false } = {}): void {
  const fresh = unmarked(layout).filter((path) => !onlyOld || ageMs(path) > QUIET_MS);
  if (fresh.length === 0) return;
  using directory = openDirectory(layout.layers);
  call("syncfs", directory);
  for (const path of fresh) writeFileSync(join(path, MARK), "");
}

/** Once per boot: removes the layers that may have been damaged when the last one ended. */
export function dropUnsettledLayers(layout: Layout): void {
  const boot = currentBoot();
  const path = join(layout.layers, BOOT_FILE);
  const recorded = readIfExists(path)?.toString("latin1");
  if (boot === undefined || recorded === boot) return;
  if (recorded === undefined && unmarked(layout).length === 0) {
    replaceFile(layout.tmp, path, boot);
    return;
  }
  // Whoever comes second finds nothing left to remove.
  using held = tryLock(layout.lock, "exclusive");
  if (held === undefined) return; // somebody is at work, so he has been through here
  using layers = openDirectory(layout.layers);
  for (const layer of unmarked(layout))
    removeTree(layers, textToByteString(layer.slice(layout.layers.length + 1)));
  replaceFile(layout.tmp, path, boot);
}

function unmarked(layout: Layout): string[] {
  return readdirSync(layout.layers)
    .filter((name) => /^[0-9a-f]+$/.test(name))
    .map((name) => join(layout.layers, name))
    .filter((path) => !existsSync(join(path, MARK)));
}

function ageMs(path: string): number {
  try {
    return Date.now() - statSync(join(path, "layer.json")).mtimeMs;
  } catch {
    return 0; // removed meanwhile
  }
}

function currentBoot(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return undefined;
  }
}
