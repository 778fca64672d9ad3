/**
 * Node's own modules, each loaded when it is first used. In the executable crypto, zlib and
 * worker_threads take milliseconds to load, and starting a container from an image that is here
 * needs none of them.
 */
import type * as crypto from "node:crypto";
import type * as workers from "node:worker_threads";
import type * as zlibModule from "node:zlib";

export type Worker = workers.Worker;

/** What we use of a hash; Bun's own has it without node:crypto. */
export type Hash = Pick<crypto.Hash, "update" | "digest">;

interface BunHashes {
  readonly CryptoHasher: new (algorithm: string) => Hash;
}

export function createHash(algorithm: string): Hash {
  // SAFE: Bun's global has this class, with update and digest as node:crypto's (bun.com/docs)
  const bun = (globalThis as { Bun?: BunHashes }).Bun;
  if (bun !== undefined) return new bun.CryptoHasher(algorithm);
  return process.getBuiltinModule("node:crypto").createHash(algorithm);
}

/** Random bytes as hexadecimal digits, for names that nobody else takes. */
export function randomHex(sizeBytes: number): string {
  return Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(sizeBytes))).toString("hex");
}

export function zlib(): typeof zlibModule {
  return process.getBuiltinModule("node:zlib");
}

export function workerThreads(): typeof workers {
  return process.getBuiltinModule("node:worker_threads");
}

export function sleep(milliseconds: number, options: { signal?: AbortSignal } = {}): Promise<void> {
  const { setTimeout } = process.getBuiltinModule("node:timers/promises");
  return setTimeout(milliseconds, undefined, options);
}
