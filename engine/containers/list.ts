/** Containers that run or have ended: list, details, removal. */
import { statSync } from "node:fs";
import { ContainerError } from "../errors.ts";
import type { Places } from "../places.ts";
import { discard } from "../prepare.ts";
import { endProcess, sweep } from "../sweep.ts";
import type { ContainerRecord } from "./directory.ts";

export interface ContainerLine {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly createdAt: Date;
  readonly status: "created" | "running" | "exited";
  readonly exitStatus: number | undefined;
  readonly finishedAt: Date | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
  /** "container", or the virtual machine's CPU: "vm on kvm", "vm on software". */
  readonly isolation: string;
}

/** Newest first. */
export function listContainers(places: Places): ContainerLine[] {
  sweep(places);
  const running = new Set(places.containers.running());
  return places.containers
    .list()
    .map((record) => toLine(record, running.has(record.id)))
    .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
}

function toLine(record: ContainerRecord, running: boolean): ContainerLine {
  const { id, name, image, command, createdAt, labels, exitStatus, finishedAt, network } = record;
  const status = running ? "running" : exitStatus === undefined ? "created" : "exited";
  return {
    id,
    name,
    image,
    command,
    createdAt: new Date(createdAt),
    status,
    exitStatus,
    finishedAt: finishedAt === undefined ? undefined : new Date(finishedAt),
    labels,
    network,
    isolation: record.machine === undefined ? "container" : `vm on ${record.machine.cpu}`,
  };
}

/** docker's inspect of a container, with the fields that mean something here. */
export function inspectContainer(
  places: Places,
  name: string,
): Record<string, unknown> | undefined {
  let record: ContainerRecord;
  try {
    record = places.containers.find(name);
  } catch (error) {
    if (error instanceof ContainerError) return undefined;
    throw error;
  }
  const running = isRunning(places, record.id);
  const [path = "", ...args] = record.command;
  return {
    Id: record.id,
    Name: `/${record.name}`,
    Created: record.createdAt,
    Path: path,
    Args: args,
    Image: record.imageId,
    State: {
      Status: running ? "running" : "exited",
      Running: running,
      ExitCode: record.exitStatus ?? 0,
      FinishedAt: record.finishedAt ?? "",
    },
    Config: { Image: record.image, Cmd: record.command, Labels: record.labels },
    HostConfig: { AutoRemove: record.autoRemove, NetworkMode: record.network },
    ...(record.machine !== undefined && { VirtualMachine: record.machine }),
  };
}

export function isRunning({ containers }: Places, id: string): boolean {
  return statSync(containers.runningPath(id), { throwIfNoEntry: false }) !== undefined;
}

export interface RemoveOptions {
  /** Kill it when it still runs. */
  readonly force?: boolean;
}

const PATIENCE_MS = 10_000;
const POLL_MS = 10;

export async function removeContainer(
  places: Places,
  name: string,
  { force = false }: RemoveOptions = {},
): Promise<void> {
  sweep(places);
  const record = places.containers.find(name);
  if (isRunning(places, record.id)) {
    if (!force) {
      throw new ContainerError(`Cannot remove container "${record.name}": it is running`, {
        status: 1,
        hint: "stop it first, or use --force",
      });
    }
    if (record.machine === undefined) endProcess(places, record.id);
    else await (await import("../vm/monitor-client.ts")).killMachine(record);
    await ownerIsDone(places, record.id);
  }
  discard(places, record, undefined);
}

/** Whoever runs it notices that the process has ended, and removes its own things first. */
async function ownerIsDone(places: Places, id: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (isRunning(places, id) && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    sweep(places);
  }
}
