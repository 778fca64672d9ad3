/**
 * When a machine is saved, and how a restored one goes on: always at the same moment, the one in
 * which the guest's agent has dialled the host for the second time and nobody has answered.
 *
 * ```
 * boot ─► agent dials, practises, dials again ─► [save] ─► disks are put in ─► the host answers ─► …
 *                                    restored machine ─────────┘
 * ```
 * Until then the guest has seen nothing of an image, a container or a user: its disks are empty
 * slots. So one snapshot serves all machines that are made alike.
 */
import { setTimeout } from "node:timers/promises";
import type { Vsock } from "../devices/index.ts";
import type { StopReason } from "../machine/index.ts";
import { Vm, type VmParts, type VmState } from "../vm.ts";
import { SnapshotError } from "./format.ts";
import { type LoadedSnapshot, type OpenSnapshot, writeSnapshot } from "./snapshot-file.ts";
import { touchedPages } from "./touched-pages.ts";

/** The agent's first call; the second one is made for the snapshot, when it has practised. */
const CALLS_BEFORE = 1;
/** For the ends of its other connections; with one open, it is not saved. */
const QUIET_TIMEOUT_MS = 2000;

export interface SnapshotUse extends OpenSnapshot {
  readonly kind: "save" | "restore";
}

/** How saving went: the file's size, or why there is none. */
export type SaveResult = { readonly sizeBytes: number } | { readonly failure: string };

/** What whoever starts a machine says about its snapshot. */
export interface SnapshotConfig extends SnapshotUse {
  readonly key: Buffer;
  readonly onSaved?: (result: SaveResult) => void;
}

/** `parts`: of a machine that is made as the saved one was. Throws SnapshotError. */
export async function restoreMachine(parts: VmParts, snapshot: LoadedSnapshot): Promise<Vm> {
  try {
    return await Vm.createFrom(parts, (backend) => {
      snapshot.fill(backend);
      // SAFE: `save` below made it, and its digest is right; what restores it checks counts and sizes.
      return snapshot.state as VmState;
    });
  } catch (cause) {
    if (cause instanceof SnapshotError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SnapshotError(`The snapshot cannot be restored: ${why}`, { cause });
  }
}

/** Runs a machine that was made for this snapshot, until it stops. `port`: where the agent dials. */
export async function runWithSnapshot(
  vm: Vm,
  vsock: Vsock,
  {
    use,
    port,
    onSaved,
  }: {
    readonly use: SnapshotUse | undefined;
    readonly port: number;
    readonly onSaved: (result: SaveResult) => void;
  },
): Promise<StopReason> {
  if (use === undefined) return await vm.run();
  const goOn = (): Promise<StopReason> => {
    vm.insertDisks();
    const running = vm.run();
    vsock.release();
    return running;
  };
  if (use.kind === "restore") return await goOn();
  vsock
    .hold(port, CALLS_BEFORE)
    .then(() =>
      Promise.race([vsock.whenQuiet(), setTimeout(QUIET_TIMEOUT_MS, undefined, { ref: false })]),
    )
    .then(() => vm.pause());
  const reason = await vm.run();
  if (reason.kind !== "paused") return reason;
  onSaved(await save(vm, vsock, use));
  return await goOn();
}

/** A machine that cannot be saved still runs. */
async function save(vm: Vm, vsock: Vsock, use: SnapshotUse): Promise<SaveResult> {
  if (vsock.hasConnections) return { failure: "the guest has connections to the host" };
  try {
    const state = await vm.save();
    const code = await vm.saveCode();
    const { memory } = vm.machine;
    // RAM with parts of files in it (KVM's kernel) has pages that nobody touched, and are not zeros.
    const touched = vm.cpu === "software" ? touchedPages : undefined;
    return { sizeBytes: writeSnapshot(use, { memory, state, code, touched }) };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}
