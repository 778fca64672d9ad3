/** Code segment's kind: CS.L and CS.D. */
export type CodeSize = 64 | 32 | 16;

/** A mode of translated code: bit 0 user, then the code's size: 0 64, 1 32, 2 16 bits. */
export function codeSizeOf(mode: number): CodeSize {
  return mode < 2 ? 64 : mode < 4 ? 32 : 16;
}
