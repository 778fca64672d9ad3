/** What the two halves of the bench vm-start tell each other. */
export interface Start {
  readonly name: string;
  readonly ms: number;
  /** Proportional set size when the program in the guest began, guest memory included. */
  readonly memoryKiB: number;
  /** Milliseconds since the process started, as our monitor tells them. */
  readonly phases: Readonly<Record<string, number>>;
}

/** As the program in the guest says it. */
export const FIRST_WORDS = "first instruction";
export const startMark = "manyworlds-start:";
