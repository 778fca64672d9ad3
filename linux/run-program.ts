/** Runs syscall programs in this process, and explains how they ended. */

import { type EncodedProgram, encodeProgram } from "./encode.ts";
import { type Errno, errnoName } from "./errno.ts";
import { SyscallError } from "./errors.ts";
import { describe } from "./format-row.ts";
import { header, row as layout } from "./interpreter-layout.ts";
import { interpret, type Memory, mapMemory } from "./kernel.ts";
import type { Argument, Program, ProgramFailure, ProgramOutcome } from "./program.ts";

/** A program in memory that a forked child may still be running. */
export interface LoadedProgram extends Disposable {
  readonly address: number;
  /** Runs it from the first row; the outcome reads the live block. */
  run(): ProgramOutcome;
  /** What is known now; for a child that goes on after `run` has returned. */
  outcome(value?: number): ProgramOutcome;
}

/** Places a program in memory shared with whatever it forks. */
export function loadProgram(program: Program): LoadedProgram {
  const encoded = encodeProgram(program);
  const memory = mapMemory(encoded.sizeBytes, { shared: true });
  encoded.write(memory.bytes, memory.address);
  const outcome = (value = 0) => new BlockOutcome(program, encoded, memory.bytes, value);
  return {
    address: memory.address,
    run: () => outcome(interpret(memory.address)),
    outcome,
    [Symbol.dispose]: () => memory[Symbol.dispose](),
  };
}

/** Runs a program once; the outcome is a copy. */
export function runProgram(program: Program): ProgramOutcome {
  const encoded = encodeProgram(program);
  using memory: Memory = mapMemory(encoded.sizeBytes, { shared: true });
  encoded.write(memory.bytes, memory.address);
  const value = interpret(memory.address);
  return new BlockOutcome(program, encoded, memory.bytes.slice(), value);
}

/** What a block says after it ran somewhere else and was brought back. */
export function readOutcome(
  program: Program,
  encoded: EncodedProgram,
  block: Uint8Array,
  value: number,
): ProgramOutcome {
  return new BlockOutcome(program, encoded, block, value);
}

class BlockOutcome implements ProgramOutcome {
  readonly value: number;
  readonly #program: Program;
  readonly #encoded: EncodedProgram;
  readonly #block: Uint8Array;

  constructor(program: Program, encoded: EncodedProgram, block: Uint8Array, value: number) {
    this.value = value;
    this.#program = program;
    this.#encoded = encoded;
    this.#block = block;
  }

  get failure(): ProgramFailure | undefined {
    const view = this.#view();
    const offset = view.getUint32(header.failedRow, true);
    const index = this.#encoded.rowIndex(offset);
    const row = index === undefined ? undefined : this.#program.rows[index];
    if (index === undefined || row === undefined || !("call" in row)) return undefined;
    const errno: Errno = errnoName(view.getUint32(header.errno, true));
    const args = row.args.map((arg) => this.#readable(arg));
    const facts = { row: index, call: row.call, args, errno };
    return row.note === undefined ? facts : { ...facts, note: row.note };
  }

  result(name: string): number {
    const offset = this.#encoded.results.get(name);
    if (offset === undefined) throw new RangeError(`No row has the result "${name}"`);
    return Number(this.#view().getBigInt64(offset + layout.result, true));
  }

  buffer(name: string): Uint8Array {
    const place = this.#encoded.buffers.get(name);
    if (place === undefined) throw new RangeError(`The program has no buffer "${name}"`);
    return this.#block.subarray(place.offset, place.offset + place.sizeBytes);
  }

  #view(): DataView {
    return new DataView(this.#block.buffer, this.#block.byteOffset, this.#block.byteLength);
  }

  #readable(arg: Argument): string | number | bigint {
    if (typeof arg === "object" && "result" in arg) return this.result(arg.result);
    if (typeof arg === "object" && "load" in arg) {
      const view = new DataView(this.buffer(arg.load).slice().buffer);
      const at = arg.offset ?? 0;
      return arg.width === 8 ? view.getBigInt64(at, true) : view.getInt32(at, true);
    }
    return typeof arg === "object" ? describe(arg) : arg;
  }
}

/** The failed call as an error, for callers that have nothing to add. */
export function programError(failure: ProgramFailure): SyscallError {
  return new SyscallError(failure);
}
