/** Snapshots of machines: saving one when its guest has booted, and starting others from it. */
export { SnapshotError } from "./format.ts";
export {
  restoreMachine,
  runWithSnapshot,
  type SaveResult,
  type SnapshotConfig,
  type SnapshotUse,
} from "./run-saving.ts";
export { type LoadedSnapshot, loadSnapshot, type SavedCode } from "./snapshot-file.ts";
