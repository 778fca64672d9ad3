/** What every verb of the OCI command line gets, and where its messages go. */

import { encodeUtf8 } from "../../linux/index.ts";
import type { CgroupPlace } from "../cgroups/cgroup.ts";
import type { SystemdDriver } from "../cgroups/systemd/scope.ts";
import { appendText, writeFd } from "../files.ts";
import type { IsolationWish } from "../machine/wish.ts";

export interface VerbContext {
  readonly name: string;
  /** The name we were executed by; a door says in it where it listens. */
  readonly calledAs: string;
  readonly stateRoot: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly systemdCgroup: boolean;
  readonly noCgroups: boolean;
  readonly isolation: IsolationWish;
  /** Words that execute this program again, as itself. */
  readonly self: readonly string[];
  print(text: string): void;
}

/** Nothing of systemd's is loaded but for those who want it. */
export function loadSystemd(): Promise<SystemdDriver> {
  return import("../cgroups/systemd/scope.ts");
}

/** undefined where systemd did not make the cgroup. */
export async function systemdOf(
  cgroup: CgroupPlace | undefined,
): Promise<SystemdDriver | undefined> {
  return cgroup?.systemd === undefined ? undefined : loadSystemd();
}

/** An error that ends the verb with this exit status. */
export class ExitError extends Error {
  override readonly name = "ExitError";
  readonly exitCode: number;
  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/**
 * Engines read this: containerd the last error of a file of JSON lines, podman a file that is
 * one JSON object. So there is one line for each failure, and nothing else.
 */
export class Log {
  readonly #path: string | undefined;
  readonly #format: "text" | "json";

  constructor(path: string | undefined, format: "text" | "json") {
    this.#path = path;
    this.#format = format;
  }

  write(level: "error" | "warning", msg: string): void {
    const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
    const line =
      this.#format === "json"
        ? JSON.stringify({ level, msg, time })
        : `time="${time}" level=${level} msg=${JSON.stringify(msg)}`;
    if (this.#path === undefined) {
      writeFd(2, encodeUtf8(`${line}\n`));
      return;
    }
    appendText(this.#path, `${line}\n`);
    if (level === "error") writeFd(2, encodeUtf8(`${msg}\n`));
  }
}
