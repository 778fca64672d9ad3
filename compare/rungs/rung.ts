/** One way to run a process: what a comparison asks of each. */
import type { HostPlace } from "../host-server.ts";
import type { Missing, RungKind } from "../result.ts";
import type { Workspace } from "../workspace.ts";

export interface Rung {
  readonly name: string;
  readonly kind: RungKind;
  readonly description: string;
  /** Its first start leaves something behind that makes later ones faster: it is no sample. */
  readonly warmsUp?: true;
  /** Once it runs it is another rung's like: only its starts are measured. */
  readonly startsOnly?: true;
  /** Prepares it, or throws RungMissingError. Whatever else it throws is the reason, too. */
  open(space: Workspace): Promise<OpenRung> | OpenRung;
}

/** A command line that starts a world. */
export interface Invocation {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The user that runs it, when that is not ours. */
  readonly user?: number;
}

/** The way out of a world, to this machine. */
export interface Outward {
  /** What it is, in the words of its own command line. */
  readonly way: string;
  readonly to: HostPlace;
  /** Runs the probe inside, with that way open. */
  probe(args: readonly string[]): Invocation;
}

export interface OpenRung extends AsyncDisposable {
  /** Runs the probe inside. */
  probe(args: readonly string[]): Invocation;
  /** The same, and writes what its CPU counted to a file of the host; where something counts. */
  counted?(file: string, args: readonly string[]): Invocation;
  /** Runs the user's command as the image would; undefined when this rung cannot. */
  run(command: readonly string[]): Invocation | undefined;
  /** The same with a network that leads to this machine. */
  readonly outward: Outward;
  /** The same kernel's clock outside and inside. */
  readonly sharesKernel: boolean;
  /** Folder inside that may be written to, and the path of the hold file inside. */
  readonly writable: string;
  readonly holdFile: string;
  /** Its guest's clock counts ticks of this length: what is measured by it must last some of them. */
  readonly clockTickMs?: number;
  /** Nobody else brings its network devices up. */
  readonly bringsUp?: true;
  /** It cannot see the hold file go. */
  readonly endsByKill?: true;
  readonly notes: readonly string[];
  /** The processes of its worlds are not our descendants: how to find them. */
  readonly strangers?: (pids: readonly number[]) => readonly number[];
}

/** This machine does not offer the rung. */
export class RungMissingError extends Error {
  override readonly name = "RungMissingError";
  readonly missing: Missing;
  constructor(reason: string, cure?: string) {
    super(reason);
    this.missing = cure === undefined ? { reason } : { reason, cure };
  }
}

export const nothingToClose = { [Symbol.asyncDispose]: async (): Promise<void> => undefined };
