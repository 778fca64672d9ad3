/** The places of one state root: image store, containers, the runtime's state. */
import { join } from "node:path";
import { openStore, type Store } from "../image/index.ts";
import { ContainerDirectories } from "./containers/directory.ts";
import { defaultStateRoot } from "./state-root.ts";

export interface Places {
  readonly root: string;
  readonly store: Store;
  readonly containers: ContainerDirectories;
  /** Snapshots of machines. */
  readonly snapshots: string;
  /** The runtime's state: gone after a reboot, as the processes are. */
  readonly runRoot: string;
}

const SYSTEM_ROOT = "/var/lib/manyworlds";
const SYSTEM_RUN_ROOT = "/run/manyworlds-engine";

export function openPlaces(root: string = defaultStateRoot(process.env)): Places {
  const store = openStore(root);
  return {
    root: store.root,
    store,
    containers: new ContainerDirectories(store.root),
    snapshots: join(store.root, "vm-snapshots"),
    runRoot: store.root === SYSTEM_ROOT ? SYSTEM_RUN_ROOT : join(store.root, "run"),
  };
}
