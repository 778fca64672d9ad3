/**
 * Rows of the engine suite: what a user does with an engine, as a shell script. Each runs with
 * runc first and then with the runtime under test, and the user must see the same.
 *
 * The script has these functions and variables:
 *
 * ```
 * e …       the engine's client: docker, podman, ctr
 * run …     e run with the runtime, a unique --name and no network; $NAME is that name
 * $IMAGE    an image with busybox; $DIR an empty folder of the row's own
 * wait_for SECONDS COMMAND…   until the command succeeds
 * says TEXT   whether the container's log has it
 * ```
 */
export type EngineName =
  | "docker"
  | "docker-bridge"
  | "podman"
  | "podman-rootless"
  | "containerd"
  | "docker-userns"
  | "swarm";

export interface EngineRow {
  readonly id: string;
  readonly engines: readonly EngineName[];
  /** One sentence: what the user has to see. */
  readonly claim: string;
  readonly script: string;
  /** What the script prints, whatever the runtime; a row that could print anything tests nothing. */
  readonly expect: RegExp;
  /** Why runc may not print it on some machines; then the runtime under test is judged alone. */
  readonly referenceFails?: string;
  /** Differences between two runs with one runtime: replaced before the outputs are compared. */
  readonly varies?: readonly RegExp[];
}

/** A running engine: its daemons, if it has any, and how its client is called. */
export interface Engine extends AsyncDisposable {
  readonly name: EngineName;
  /** Shell text that defines e and run; `$RUNTIME` is "runc" or "under-test". */
  readonly prelude: string;
}
