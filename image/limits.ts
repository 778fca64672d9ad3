/** Named limits for everything that comes from outside. */
export interface LayerLimits {
  /** Entries in one layer. */
  readonly maxEntries: number;
  /** Bytes of a path or link target; Linux's PATH_MAX without its NUL. */
  readonly maxPathBytes: number;
  /** Bytes of one PAX header or GNU long name. */
  readonly maxMetadataBytes: number;
  /** Extents of one sparse file. */
  readonly maxSparseExtents: number;
  /** Apparent size of one sparse file. */
  readonly maxFileBytes: number;
  /** Bytes of one layer after decompression. */
  readonly maxExpandedBytes: number;
  /** A layer may always expand to `ratioFloorBytes`, and beyond it to this many times its size. */
  readonly maxExpansionRatio: number;
  readonly ratioFloorBytes: number;
  /** Bytes after the end-of-archive mark (GNU tar pads to its blocking factor). */
  readonly maxTrailerBytes: number;
}

export const defaultLayerLimits: LayerLimits = {
  maxEntries: 4_000_000,
  maxPathBytes: 4095,
  maxMetadataBytes: 1024 * 1024,
  maxSparseExtents: 1024 * 1024,
  maxFileBytes: 16 * 1024 ** 4,
  maxExpandedBytes: 256 * 1024 ** 3,
  maxExpansionRatio: 200,
  ratioFloorBytes: 1024 ** 3,
  maxTrailerBytes: 16 * 1024 ** 2,
};

/** How far a compressed layer of this size may expand. */
export function expansionLimit(compressedBytes: number, limits: LayerLimits): number {
  const byRatio = Math.max(limits.ratioFloorBytes, compressedBytes * limits.maxExpansionRatio);
  return Math.min(limits.maxExpandedBytes, byRatio);
}
