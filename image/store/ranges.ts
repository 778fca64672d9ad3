/** Which parts of a blob are there: sorted, disjoint ranges. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

export class RangeSet {
  #ranges: Range[];

  constructor(ranges: readonly Range[] = []) {
    this.#ranges = [];
    for (const range of ranges) this.add(range);
  }

  add({ offset, length }: Range): void {
    if (length <= 0) return;
    let start = offset;
    let end = offset + length;
    const apart: Range[] = [];
    for (const range of this.#ranges) {
      if (range.offset + range.length < start || range.offset > end) apart.push(range);
      else {
        start = Math.min(start, range.offset);
        end = Math.max(end, range.offset + range.length);
      }
    }
    apart.push({ offset: start, length: end - start });
    this.#ranges = apart.sort((a, b) => a.offset - b.offset);
  }

  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  /** Bytes from the start without a gap. */
  get prefix(): number {
    const first = this.#ranges[0];
    return first?.offset === 0 ? first.length : 0;
  }

  get total(): number {
    return this.#ranges.reduce((sum, range) => sum + range.length, 0);
  }

  /** What a blob of `size` bytes still lacks. */
  missing(size: number): Range[] {
    const gaps: Range[] = [];
    let at = 0;
    for (const range of this.#ranges) {
      if (range.offset > at) gaps.push({ offset: at, length: range.offset - at });
      at = range.offset + range.length;
    }
    if (at < size) gaps.push({ offset: at, length: size - at });
    return gaps;
  }
}
