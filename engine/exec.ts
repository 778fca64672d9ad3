/** Another process in a container that runs. */
import { ContainerError } from "./errors.ts";
import { openPlaces } from "./places.ts";
import { execInMachine, type MachineExec } from "./vm/monitor-client.ts";

export type ExecRequest = MachineExec & {
  readonly root?: string | undefined;
  /** Name or ID. */
  readonly container: string;
};

/** On our own streams. @returns the exit status as a shell reports it */
export async function execForeground(request: ExecRequest): Promise<number> {
  const places = openPlaces(request.root);
  using _store = places.store;
  const record = places.containers.find(request.container);
  if (!places.containers.running().includes(record.id)) {
    throw new ContainerError(`Cannot run a command in "${record.name}": it is not running`, {
      status: 1,
    });
  }
  if (record.machine !== undefined) return await execInMachine(record, request);
  return await (await import("./exec-container.ts")).execInOwn(places, record, request);
}
