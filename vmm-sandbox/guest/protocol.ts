/**
 * What the host and the guest's PID 1 say to each other on one stream connection.
 *
 * ```
 * message  +0 u32 kind   +4 u32 size of what follows   +8 i64 value   +16 i64 status
 * ```
 * Little endian. The host sends blocks (linux/interpreter-layout.ts) that are encoded for
 * `ARENA_ADDRESS`, without the zeros at their end: `value` is the whole size. All of it comes back.
 * At most one request is under way at a time. `exited` comes on its own.
 */
import { i64, struct, u32 } from "../../linux/index.ts";

export const message = struct(24, { kind: u32, size: u32, value: i64, status: i64 });

export const messageKinds = {
  /** Host: run the block here and send it back. */
  run: 1,
  /** Host: fork, and run the block in the child. */
  spawn: 2,
  /** Guest: the block after it ran; `value` is what it ended with. */
  done: 3,
  /** Guest: `value` is the child's PID, or -errno. */
  spawned: 4,
  /** Guest: the process `value` ended with the wait(2) status `status`. */
  exited: 5,
  /** Guest, first of all: ready to take requests. */
  ready: 6,
  /** Host: hang up, dial again and say "ready": for a machine that is about to be saved. */
  redial: 7,
} as const;

/** Where the guest keeps the block of a request; far from anything an executable uses. */
export const ARENA_ADDRESS = 0x2000_0000;
/** The largest block of a request, in bytes. */
export const ARENA_BYTES = 8 * 1024 * 1024;
