/** What long work (pull, push, load) tells whoever watches. Data only: showing it is the cli's. */

export type Phase =
  | "waiting"
  | "downloading"
  | "uploading"
  | "unpacking"
  | "retrying"
  | "exists"
  | "done";

export type ProgressEvent =
  /** One sentence about the whole: what is being done, and what came of it. */
  | { readonly type: "status"; readonly text: string }
  /** How far one layer or blob is. */
  | {
      readonly type: "item";
      readonly id: string;
      readonly phase: Phase;
      readonly currentBytes?: number;
      readonly totalBytes?: number;
    }
  | { readonly type: "warning"; readonly text: string };

export type OnProgress = (event: ProgressEvent) => void;
