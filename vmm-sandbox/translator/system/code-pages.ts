/** Pages with code, as another thread that writes RAM sees them: host-channel.ts. */
export interface CodePages {
  /** Before the first byte of the page is read for translation. */
  markCode(page: number): void;
  readonly hasWritten: boolean;
  /** Drops what was translated from marked pages that were written; their marks are off then. */
  takeWritten(cpu: { codeWritten(address: number, size: number): void }): void;
}
