/**
 * The house as a table: which folder may import which, through which doors (design.md, "The
 * house"). check-imports.ts holds every file against it.
 */

export interface Folder {
  /** Folders that this one may import. Its own files are always allowed. */
  readonly mayImport: readonly string[];
  /** True for what is shipped: it imports run-time dependencies only. */
  readonly shipped: boolean;
}

const low = ["oci", "linux"];
const middle = ["runtime", "image", "registry-client", "vmm-sandbox"];
const all = [...low, ...middle, "engine", "compare", "cli"];

// biome-ignore format: table
export const folders: Readonly<Record<string, Folder>> = {
  cli:               { mayImport: ["compare", "engine", ...middle, ...low], shipped: true },
  compare:           { mayImport: ["engine", ...middle, ...low],            shipped: true },
  engine:            { mayImport: [...middle, ...low],                      shipped: true },
  runtime:           { mayImport: low,                                      shipped: true },
  image:             { mayImport: low,                                      shipped: true },
  "registry-client": { mayImport: low,                                      shipped: true },
  "vmm-sandbox":     { mayImport: low,                                      shipped: true },
  oci:               { mayImport: [],                                       shipped: true },
  linux:             { mayImport: [],                                       shipped: true },
  "":                { mayImport: all,                                      shipped: true },
  test:              { mayImport: [...all, "bench", "examples", "scripts", ""], shipped: false },
  bench:             { mayImport: [...all, "scripts", ""],                  shipped: false },
  examples:          { mayImport: [""],                                     shipped: false },
  scripts:           { mayImport: [...all, "bench", ""],                    shipped: false },
};

/** Files other than a folder's index.ts that outsiders may import, and why. */
// biome-ignore format: table
export const secondDoors: Readonly<Record<string, string>> = {
  "cli/main.ts":           "entry point of the executable",
  "runtime/oci-main.ts":   "manyworlds oci loads the runtime only, and nothing of the cli",
  "image/erofs/index.ts":  "only machines need block devices: starting a container loads none of it",
  "linux/bpf-machine.ts":  "asks seccomp filters questions, which starting a container never does",
};

/**
 * Doors for tests alone: what compares a CPU with the real one calls machine code of its own, and
 * what boots a guest makes it a root from layers, which the engine will do.
 */
export const testDoors: readonly string[] = [
  "image/erofs/index.ts",
  "image/tar/reader.ts",
  "linux/ffi.ts",
  "linux/bun.ffi.ts",
  "linux/koffi.ffi.ts",
];

/** Development tools that shipped code may load with import(), when it runs from its sources. */
export const sourceLoaders: readonly string[] = ["tsx/esm/api"];

/** Parts of vmm-sandbox that must not know one another (design.md, decision 4). */
// biome-ignore format: table
export const strangers: readonly (readonly [string, string])[] = [
  ["vmm-sandbox/kvm/",        "vmm-sandbox/translator/"],
  ["vmm-sandbox/translator/", "vmm-sandbox/kvm/"],
  ["vmm-sandbox/devices/",    "vmm-sandbox/kvm/"],
  ["vmm-sandbox/devices/",    "vmm-sandbox/translator/"],
  ["vmm-sandbox/machine/",    "vmm-sandbox/kvm/"],
  ["vmm-sandbox/machine/",    "vmm-sandbox/translator/"],
];

/** What loads native code; only linux/*.ffi.ts may name it. */
export const nativeLoaders: readonly string[] = ["koffi", "bun:ffi", "node:ffi"];

/** Slow to load: never on a static path from the executable's entry point. */
export const lazyPackages: readonly string[] = ["undici", "iced-x86", "koffi", "fzstd"];

export const startUpEntries: readonly string[] = ["cli/main.ts", "runtime/oci-main.ts"];
