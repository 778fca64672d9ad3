/** What a registry client tells while it works; nothing is ever written to the console. */
import type { Digest } from "../oci/index.ts";

export type RegistryEvent =
  | { readonly type: "warning"; readonly message: string }
  /** An attempt failed and will be repeated. */
  | {
      readonly type: "retry";
      readonly action: string;
      /** Of the attempt that failed, from 1. */
      readonly attempt: number;
      readonly delayMs: number;
      readonly reason: unknown;
    }
  /** A mirror could not serve; the next place is asked. */
  | { readonly type: "mirror-skipped"; readonly host: string; readonly reason: unknown }
  | ({ readonly type: "download" } & Progress)
  | ({ readonly type: "upload" } & Progress)
  /** Every answer, for debugging; the URL is without query. */
  | {
      readonly type: "answer";
      readonly method: string;
      readonly url: string;
      readonly status: number;
    };

export type EmitEvent = (event: RegistryEvent) => void;

interface Progress {
  readonly digest: Digest;
  readonly doneBytes: number;
  readonly totalBytes: number;
}
