/** Rows with variables, C strings and words of the command line: what the door is written in. */
import type { Argument, Comparison, Operation } from "../../linux/index.ts";
import { type Result, RowList } from "../launch/row-list.ts";

const wordBytes = 8;

export class DoorRows extends RowList {
  #names = 0;

  /** A 64-bit variable of the program. */
  get(name: string): Argument {
    this.buffer(name, wordBytes);
    return { load: name, width: 8 };
  }

  set(name: string, value: Argument): void {
    this.add({ store: this.buffer(name, wordBytes), value, width: 8 });
  }

  read(address: Argument, width: 1 | 4 | 8): Result {
    const as = this.#fresh("read");
    this.add({ read: address, width, as });
    return { result: as };
  }

  compute(a: Argument, operation: Operation, b: Argument): Result {
    const as = this.#fresh("value");
    this.add({ compute: [a, operation, b], as });
    return { result: as };
  }

  advance(name: string, by: Argument): void {
    this.set(name, this.compute(this.get(name), "+", by));
  }

  gotoIf(label: string, a: Argument, how: Comparison, b: Argument): void {
    this.add({ jump: label, if: [a, how, b] });
  }

  /**
   * Jumps when the C string at `address` is `text`. Reads eight bytes at a time, so up to seven
   * behind the string: it must lie on the stack, below the kernel's eight zeros, or in a buffer.
   */
  gotoIfText(label: string, address: Argument, text: string): void {
    this.#match(address, Buffer.from(`${text}\0`), label);
  }

  /** The same where only the beginning must agree. */
  gotoIfBegins(label: string, address: Argument, text: string): void {
    this.#match(address, Buffer.from(text), label);
  }

  #match(address: Argument, wanted: Buffer, label: string): void {
    const other = this.#fresh("other");
    for (let at = 0; at < wanted.length; at += wordBytes) {
      const part = wanted.subarray(at, at + wordBytes);
      const place = at === 0 ? address : this.compute(address, "+", at);
      const found = this.read(place, 8);
      const expected = part.reduce((all, byte, index) => all | (BigInt(byte) << bits(index)), 0n);
      const mask = (1n << bits(part.length)) - 1n;
      const seen = part.length === wordBytes ? found : this.compute(found, "&", mask);
      this.gotoIf(other, seen, "!=", BigInt.asIntN(64, expected));
    }
    this.goto(label);
    this.label(other);
  }

  /** Runs `body` for each byte of the C string at `address`; ends with its length in `length`. */
  scan(length: string, address: Argument, body: (byte: Result) => void): void {
    const [again, end] = [this.#fresh("byte"), this.#fresh("string_end")];
    this.set(length, 0);
    this.label(again);
    const byte = this.read(this.compute(address, "+", this.get(length)), 1);
    this.gotoIf(end, byte, "==", 0);
    body(byte);
    this.advance(length, 1);
    this.goto(again);
    this.label(end);
  }

  #fresh(what: string): string {
    return `${what}.${++this.#names}`;
  }
}

function bits(bytes: number): bigint {
  return BigInt(8 * bytes);
}
