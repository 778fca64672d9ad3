/**
 * Layout of a syscall program in memory, shared by the encoder and by the assembler of the
 * interpreter. All fields little endian.
 *
 * ```
 * header +0  u64 magic            row +0  u32 syscall number, or 0x80000000 | operation
 *        +8  u32 first row            +4  u32 kinds: 4 bits an argument, argument 0 lowest
 *        +12 u32 block size           +8  u64 × 6 arguments
 *        +16 u32 failed row           +56 i64 result
 *        +20 u32 errno                +64 u8 × 8 ignored errnos, 0 ends the list
 *        +24 u64 stack pointer        +72 u32 row to go to on failure, 0: end the program
 *                                     +76 u32 row to jump to
 * ```
 * Rows and data are named by their offset in bytes from the header. An executable (elf.ts) finds the
 * stack that it was started with in the header: argc, argv, envp and the auxiliary vector.
 */
export const blockMagic = 0x3177_646c_726f_776dn; // "mworldw1", read as bytes

// biome-ignore format: table
export const header = {
  size: 64, firstRow: 8, blockSize: 12, failedRow: 16, errno: 20, stack: 24,
} as const;

export const row = {
  size: 80,
  number: 0,
  kinds: 4,
  args: 8,
  result: 56,
  ignore: 64,
  ignoreCount: 8,
  onError: 72,
  target: 76,
} as const;

/** Kinds of arguments. */
export const kind = { immediate: 0, data: 1, load64: 2, load32: 3, last: 4 } as const;

/** Operations other than system calls; the row's number is `operationBit | operation`. */
export const operation = {
  end: 0,
  jump: 1,
  store: 2,
  load: 3,
  compute: 4,
  run: 5,
  copy: 6,
  resume: 7,
} as const;
export const operationBit = 0x8000_0000;

export const comparisons = ["==", "!=", "<", "<=", ">", ">=", "&"] as const;
export const operations = ["+", "-", "*", "&", "|", "^", "<<", ">>"] as const;
