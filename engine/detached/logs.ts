/** `logs`: what a detached container has written, and writes. */
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning } from "../containers/list.ts";
import { ContainerError } from "../errors.ts";
import type { Places } from "../places.ts";
import { sweep } from "../sweep.ts";
import type { LogFrame } from "./log-frames.ts";
import { LogReader } from "./log-reader.ts";

export interface LogsRequest {
  /** Name or ID. */
  readonly container: string;
  readonly follow: boolean;
  /** Only so many of the last lines. */
  readonly tail?: number | undefined;
  /** Lines written at that time or later; milliseconds. */
  readonly since?: number | undefined;
  readonly timestamps: boolean;
  readonly write: (stream: 1 | 2, bytes: Uint8Array) => void;
}

const POLL_MS = 100;
const SWEEP_EVERY = 10;
const NEWLINE = 10;

export async function showLogs(places: Places, request: LogsRequest): Promise<void> {
  sweep(places);
  const { id, name } = places.containers.find(request.container);
  const path = places.containers.path(id, "log");
  if (!existsSync(path))
    throw new ContainerError(`Cannot show what "${name}" wrote: it had its caller's output`, {
      hint: "logs are kept of containers that run with --detach",
      status: 1,
    });
  using reader = new LogReader(path);
  const lines = new Lines(request);
  let kept: Piece[] = [];
  for (const frame of reader.read())
    for (const piece of lines.split(frame)) {
      if (request.tail === undefined) lines.write(piece);
      else kept.push(piece);
      if (kept.length > KEPT_LIMIT) kept = lastLines(kept, request.tail);
    }
  lastLines(kept, request.tail).forEach(lines.write);
  for (let round = 1; request.follow; round++) {
    const running = isRunning(places, id);
    for (const frame of reader.read()) lines.split(frame).forEach(lines.write);
    if (!running) return;
    await sleep(POLL_MS);
    if (round % SWEEP_EVERY === 0) sweep(places);
  }
}

const KEPT_LIMIT = 100_000;

/** Of one line, at most. */
interface Piece {
  readonly stream: 1 | 2;
  readonly bytes: Uint8Array;
  /** Of the frame that it begins in, when it begins a line. */
  readonly begins: string | undefined;
  readonly ends: boolean;
}

class Lines {
  readonly #request: LogsRequest;
  readonly #inLine = new Set<number>();

  constructor(request: LogsRequest) {
    this.#request = request;
  }

  split({ stream, seconds, nanoseconds, bytes }: LogFrame): readonly Piece[] {
    const { since = 0 } = this.#request;
    if (seconds * 1000 + nanoseconds / 1_000_000 < since) return [];
    const time = `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(nanoseconds).padStart(9, "0")}Z`;
    const pieces: Piece[] = [];
    for (let at = 0; at < bytes.length; ) {
      const newline = bytes.indexOf(NEWLINE, at);
      const end = newline < 0 ? bytes.length : newline + 1;
      const begins = this.#inLine.has(stream) ? undefined : time;
      pieces.push({ stream, bytes: bytes.subarray(at, end), begins, ends: newline >= 0 });
      if (newline < 0) this.#inLine.add(stream);
      else this.#inLine.delete(stream);
      at = end;
    }
    return pieces;
  }

  readonly write = ({ stream, bytes, begins }: Piece): void => {
    const { timestamps, write } = this.#request;
    if (timestamps && begins !== undefined) write(stream, Buffer.from(`${begins} `));
    write(stream, bytes);
  };
}

function lastLines(pieces: readonly Piece[], tail = 0): Piece[] {
  if (tail === 0) return [];
  let first = pieces.length;
  for (let lines = 0; first > 0 && lines < tail; first--)
    if (pieces[first - 1]?.begins !== undefined) lines++;
  return pieces.slice(first);
}
