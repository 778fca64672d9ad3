/**
 * Where everything lives in the CPU's one WebAssembly memory.
 *
 * ```
 * 0x0000_0000  64 KiB  scratch: accesses that cross pages or reach devices are staged here
 * 0x0001_0000  64 KiB  the vCPU's registers (`state`)
 * 0x0010_0000 128 KiB  TLB of the supervisor     4096 × {read tag i64, write tag i64, addend i32,
 * 0x0012_0000 128 KiB  TLB of the user                   physical page i32, 8 spare}
 * 0x0014_0000 256 KiB  jump cache               16384 × {tag i64, record i32, linkable i32}
 * 0x0018_0000  16 KiB  fetch TLB                 1024 × {tag i64, physical page i32, 4 spare}
 * 0x0020_0000   1 MiB  run index                65536 × {physical page i32, offset and mode i32,
 *                                                        record i32, 4 spare}
 * 0x0030_0000 256 KiB  cells of regions, 8 bytes each: the mapping their pages were last checked in
 * 0x0034_0000  24 KiB  TLB entries that a CR3 write forgets: lists of both TLBs, then a byte per entry
 * 0x0034_6000  24 bytes `walkState`
 * 0x0034_8000   8 KiB  whether pieces of large pages are in a TLB, by hash of the 2 MiB around
 * 0x0036_0000 128 KiB  generation in which code was last fetched from a page, by hash; per privilege
 * 0x0040_0000   2 MiB  a byte per physical page: `pageMark`
 * 0x0100_0000  48 MiB  interpreter records, 16 bytes each
 * 0x0400_0000          guest RAM
 * ```
 *
 * A register's record operand is its offset from the state's base, so it must stay below 64 KiB.
 */
export const layout = {
  scratch: 0x0,
  /** Host addresses below this are scratch: a store there must be committed. */
  scratchEnd: 0x1_0000,
  state: 0x1_0000,
  kernelTlb: 0x10_0000,
  userTlb: 0x12_0000,
  jumpCache: 0x14_0000,
  fetchTlb: 0x18_0000,
  runIndex: 0x20_0000,
  regionCells: 0x30_0000,
  filledLists: 0x34_0000,
  filledMarks: 0x34_4000,
  /** `walkState` */
  walk: 0x34_6000,
  largeRegions: 0x34_8000,
  knownPages: 0x36_0000,
  pageMarks: 0x40_0000,
  /** Vectors picked apart lane by lane: 48 bytes, zeroes around the middle. */
  lanes: 0x400,
  records: 0x100_0000,
  recordsEnd: 0x400_0000,
  ram: 0x400_0000,
} as const;

export const tlbEntries = 4096;
export const tlbEntryBytes = 32;
export const tlbEntry = { readTag: 0, writeTag: 8, addend: 16, physicalPage: 20 } as const;
export const jumpCacheEntries = 16384;
export const jumpCacheEntryBytes = 16;
export const fetchTlbEntries = 1024;
export const runIndexEntries = 65_536;
export const regionCellBytes = 8;
/** Weight of an indirect or unlinked jump in fuel. */
export const jumpCost = 4;
/** Spreads physical page numbers over the run index. */
export const runIndexHash = 0x9e37;

/** What page walks in WebAssembly (mmu/quick-walk.ts) know: offsets from `layout.walk`. */
export const walkState = {
  root: 0, // i32: where PML4 lies in memory; 0: only TypeScript walks
  limit: 4, // i32: physical pages from 0 that are RAM
  supervisorIsLocal: 8, // i32: supervisor's code was fetched from a page that CR3 writes forget
  filledCounts: 12, // 2 × i32: lengths of the lists at `layout.filledLists`
  fills: 20, // u32: TLB entries filled
} as const;

/** Of a physical page: runs or regions were made of it; a TLB entry may allow writes to it. */
export const pageMark = { code: 1, writable: 2 } as const;
/** Multiplied with a page or region number, it leaves a hash in the upper bits. */
export const quickHash = 0x9e37_79b1 | 0;

/** Offsets from `layout.state`. */
export const state = {
  gpr: 0x000, // 16 × i64
  rip: 0x080, // i64, valid whenever WebAssembly is not running
  virtualPage: 0x088, // i64: address of the page that records' offsets count from
  flagResult: 0x090, // i64: see emit/flags.ts
  flagAux: 0x098, // i32
  eflags: 0x09c, // i32: the flags that are not arithmetic, bit 1 set
  zero: 0x0a0, // i64, always 0: the base register of addresses without one
  ea: 0x0a8, // i64: effective address handed to helpers
  fuel: 0x0b0, // i32: instructions until the run loop wants control
  tlb: 0x0b4, // i32: TLB of the current privilege level
  modeTag: 0x0b8, // i64: mixed into jump-cache tags
  segmentBase: 0x0c0, // 6 × i64: ES CS SS DS FS GS
  kernelGsBase: 0x0f0, // i64
  exit: 0x0f8, // i32: why WebAssembly returned
  record: 0x0fc, // i32: the jump that wants linking
  star: 0x100, // i64
  lstar: 0x108, // i64
  cstar: 0x110, // i64
  sfmask: 0x118, // i64
  efer: 0x120, // i64
  cr0: 0x128, // i64
  cr2: 0x130, // i64
  cr3: 0x138, // i64
  cr4: 0x140, // i64
  selectors: 0x150, // 8 × i32: ES CS SS DS FS GS LDTR TR
  cpl: 0x170, // i32
  shadow: 0x174, // i32: interrupts wait for one instruction
  slowAddress: 0x178, // i64: virtual address handed to the memory slow path
  tscAux: 0x180, // i64
  modeKey: 0x18c, // i32: the mode as keys of the run index have it
  interruptPending: 0x188, // i32: the APIC has something to deliver once IF allows
  stackMask: 0x190, // i64: which bits of rSP address the stack; all in 64-bit code
  sysenterCs: 0x198, // i64
  sysenterEsp: 0x1a0, // i64
  sysenterEip: 0x1a8, // i64
  pushfCounts: 0x1b0, // 4 × u32: PUSHF executed at CPL 0 to 3
  popfCounts: 0x1c0, // 4 × u32
  sseStrict: 0x1d0, // i32: MXCSR asks for more than rounding to nearest with all masked
  xmm: 0x200, // 16 × v128
  st: 0x300, // 8 × 16 bytes: x87/MMX physical registers, 80 bits used
  mxcsr: 0x380, // i32
  fcw: 0x384, // i32
  fsw: 0x388, // i32: without TOP
  ftop: 0x38c, // i32
  ftags: 0x390, // i32: bit set = register in use (FXSAVE's abridged tag)
  fop: 0x394, // i32
  fip: 0x398, // i64
  fdp: 0x3a0, // i64
} as const;

/** "Exception" of an instruction that emitted code leaves to TypeScript: system/soft-sse.ts. */
export const delegated = 256;

export const exitReason = {
  /** Fuel ran out at `rip`. */
  fuel: 0,
  /** No translation known for `rip`. */
  lookup: 1,
  /** An exception is pending. */
  fault: 2,
  /** A helper asked for the run loop. */
  helper: 3,
  /** The run at `record` was entered often enough to be compiled. */
  hot: 4,
} as const;

/** What TypeScript's part of an instruction answers. */
export const helperAnswer = {
  /** On with the next record. */
  next: 0,
  /** Leave, to whoever looks at `exit`. */
  leave: 1,
  /** On at `rip`, in the mode that is now: nobody else has to look. */
  jump: 2,
} as const;

/**
 * A pre-decoded instruction, 16 bytes.
 *
 *   +0 u16 handler · +2 u16 page offset (12 bits) and length (4 bits)
 *   +4 u16 a · +6 u16 b · +8 i32 immediate · +12 u16 c, u16 d  or  i32 second immediate
 */
export const record = {
  handler: 0,
  where: 2,
  a: 4,
  b: 6,
  immediate: 8,
  c: 12,
  d: 14,
  immediate2: 12,
  sizeBytes: 16,
} as const;
