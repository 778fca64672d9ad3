/** What the two halves of the bench vm-start tell each other. */
export interface Start {
  readonly name: string;
  readonly ms: number;
  /** Proportional set sizes of the monitor's processes when the program in the guest began. */
  readonly memory: { readonly guestKiB: number; readonly ownKiB: number };
  /** Milliseconds since the process started, as our monitor tells them. */
  readonly phases: Readonly<Record<string, number>>;
}

export const GUEST_MEMORY_BYTES = 256 * 2 ** 20;
/** As the program in the guest says it. */
export const FIRST_WORDS = "first instruction";
export const startMark = "manyworlds-start:";
