/**
 * Files that are longer than the style guide allows, with the length they may not exceed. The list
 * only shrinks: a file that has become short enough must leave it.
 */
// biome-ignore format: table
export const longFiles: Readonly<Record<string, number>> = {
  "vmm-sandbox/translator/interpreter/translate.ts": 480,
  "vmm-sandbox/translator/system/cpu.ts":            430,
  "vmm-sandbox/translator/wasm/assembler.ts":        560,
  "vmm-sandbox/translator/x87/float80.ts":           420,
  "vmm-sandbox/translator/x87/fpu.ts":               510,
};
