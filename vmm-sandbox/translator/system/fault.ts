/** Exceptions of the guest. SDM volume 3A §6.3 and table 6-1. */
export const vector = {
  divideError: 0,
  debug: 1,
  nmi: 2,
  breakpoint: 3,
  overflow: 4,
  boundRange: 5,
  invalidOpcode: 6,
  deviceNotAvailable: 7,
  doubleFault: 8,
  invalidTss: 10,
  segmentNotPresent: 11,
  stackFault: 12,
  generalProtection: 13,
  pageFault: 14,
  mathFault: 16,
  alignmentCheck: 17,
  simdException: 19,
} as const;

const withErrorCode = new Set([8, 10, 11, 12, 13, 14, 17]);

export function hasErrorCode(number: number): boolean {
  return withErrorCode.has(number);
}

/** Thrown by helpers to leave the instruction; the run loop delivers it to the guest. */
export class GuestFault {
  readonly vector: number;
  readonly errorCode: number;
  /** Of a page fault, or of an access that is not canonical: the address, in two halves. */
  readonly low: number;
  readonly high: number;
  constructor(number: number, errorCode = 0, low = 0, high = 0) {
    this.vector = number;
    this.errorCode = errorCode;
    this.low = low;
    this.high = high;
  }

  get address(): bigint {
    return (BigInt(this.high >>> 0) << 32n) | BigInt(this.low >>> 0);
  }
}

/** The address: of an access that is not canonical, which may turn out to be #SS (stack-fault.ts). */
export function generalProtection(errorCode = 0, low = 0, high = 0): GuestFault {
  return new GuestFault(vector.generalProtection, errorCode, low, high);
}

export function invalidOpcode(): GuestFault {
  return new GuestFault(vector.invalidOpcode);
}

/** Contributory exceptions and page faults combine into a double fault. SDM vol. 3A table 6-5. */
export function combinesToDoubleFault(first: number, second: number): boolean {
  const contributory = (v: number): boolean => v === 0 || (v >= 10 && v <= 13);
  if (first === vector.pageFault) return second === vector.pageFault || contributory(second);
  return contributory(first) && contributory(second);
}
