/** Finds the keys that detach in what is typed; keys that may yet become the sequence wait. */

export interface DetachScan {
  /** What goes on to the container. */
  readonly pass: Uint8Array;
  readonly detached: boolean;
}

/** Remembers how much of the sequence was typed, across reads. */
export class DetachKeys {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  scan(typed: Uint8Array): DetachScan {
    const keys = this.#keys;
    if (keys.length === 0) return { pass: typed, detached: false };
    const pass: number[] = [];
    for (const byte of typed) {
      if (byte !== keys[this.#matched]) {
        pass.push(...keys.subarray(0, this.#matched));
        this.#matched = 0;
      }
      if (byte !== keys[this.#matched]) pass.push(byte);
      else if (++this.#matched === keys.length) {
        this.#matched = 0;
        return { pass: Uint8Array.from(pass), detached: true };
      }
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }
}
