/**
 * A machine from a snapshot when there is one that was made alike; otherwise one that boots and is
 * saved on its way, for the next.
 */
import {
  GuestNotReadyError,
  type Sandbox,
  type SaveResult,
  SnapshotError,
  type VirtioFs,
} from "../../vmm-sandbox/index.ts";
import type { MachineRequest } from "./machine.ts";
import { commandLineOf, openSandbox, sharesOf } from "./open-sandbox.ts";
import { bootId, snapshotKey } from "./snapshot-key.ts";
import { MachineSnapshots, type SnapshotDraft } from "./snapshots.ts";

export async function openWarm(request: MachineRequest, directories: VirtioFs[]): Promise<Sandbox> {
  const boot = bootId();
  // Who watches the console wants to see the boot.
  if (request.snapshots === undefined || boot === undefined || request.onConsole !== undefined)
    return await openSandbox(request, directories);
  const key = keyOf(request, boot);
  const snapshots = new MachineSnapshots(request.snapshots, boot);
  return (
    (await restore(request, directories, snapshots, key)) ??
    (await bootAndSave(request, directories, snapshots, key))
  );
}

function keyOf(request: MachineRequest, boot: string): Buffer {
  const { cpu, cpus, memoryBytes, kernel, root, network } = request;
  const commandLine = commandLineOf(request);
  const shares = sharesOf(request).map(({ tag }) => tag);
  const disks = "image" in root ? [{ readOnly: true }] : [];
  const nets = (network?.devices ?? []).map(({ mac, mtu }) => `${mac.join(":")} ${mtu}`);
  const facts = { cpu, cpus, memoryBytes, kernel, commandLine, disks, shares, nets };
  return snapshotKey(facts, boot);
}

/** Undefined when there is none, or none that works: then it is gone. */
async function restore(
  request: MachineRequest,
  directories: VirtioFs[],
  snapshots: MachineSnapshots,
  key: Buffer,
): Promise<Sandbox | undefined> {
  using file = snapshots.find(key);
  if (file === undefined) return undefined;
  try {
    return await openSandbox(request, directories, { kind: "restore", fd: file.fd, key });
  } catch (error) {
    if (!(error instanceof SnapshotError || error instanceof GuestNotReadyError)) throw error;
    debug(`The machine boots: ${error.message}`);
    snapshots.remove(key);
    for (const directory of directories.splice(0)) directory[Symbol.dispose]();
    return undefined;
  }
}

async function bootAndSave(
  request: MachineRequest,
  directories: VirtioFs[],
  snapshots: MachineSnapshots,
  key: Buffer,
): Promise<Sandbox> {
  using draft = beginDraft(snapshots, key);
  if (draft === undefined) return await openSandbox(request, directories);
  const onSaved = (result: SaveResult): void => {
    if ("failure" in result) debug(`The machine was not saved: ${result.failure}`);
    else publish(draft);
  };
  return await openSandbox(request, directories, { kind: "save", fd: draft.fd, key, onSaved });
}

/** Snapshots are a convenience: without room for one, machines boot. */
function beginDraft(snapshots: MachineSnapshots, key: Buffer): SnapshotDraft | undefined {
  try {
    return snapshots.begin(key);
  } catch (error) {
    debug(`Machines cannot be saved: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

function publish(draft: SnapshotDraft): void {
  try {
    draft.publish();
  } catch (error) {
    debug(`The snapshot was not kept: ${error instanceof Error ? error.message : error}`);
  }
}

/** With --debug. */
function debug(text: string): void {
  if (process.env["MANYWORLDS_DEBUG"] !== undefined) process.stderr.write(`debug: ${text}\n`);
}
