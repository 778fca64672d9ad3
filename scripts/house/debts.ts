/**
 * Where the project breaks its own style guide, file by file. These lists only shrink.
 */

/** Files that are too long, with the length they may not exceed. */
// biome-ignore format: table
export const longFiles: Readonly<Record<string, number>> = {
  "vmm-sandbox/translator/interpreter/translate.ts": 471,
  "vmm-sandbox/translator/system/cpu.ts":            444,
};

/** Files whose names say nothing yet. */
export const vagueFiles: readonly string[] = [];
