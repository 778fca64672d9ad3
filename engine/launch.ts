/** From a prepared container to a running process. */
import { Fd, O_CLOEXEC, O_RDWR } from "../linux/index.ts";
import type { RuntimeConfig } from "../oci/index.ts";
import {
  type CreatedContainer,
  createContainer,
  destroyContainer,
  LaunchError,
  receiveDescriptor,
  socketPair,
} from "../runtime/index.ts";
import { ContainerError } from "./errors.ts";
import type { Places } from "./places.ts";
import type { Prepared } from "./prepare.ts";
import type { TerminalSize } from "./terminal/raw-mode.ts";

export interface LaunchOptions {
  /** What becomes the container's 0, 1 and 2; 0 is /dev/null when left out. */
  readonly stdin?: number | undefined;
  readonly stdout: number;
  readonly stderr: number;
  readonly size?: TerminalSize | undefined;
  readonly init: boolean;
}

export interface Launched {
  readonly container: CreatedContainer;
  /** Outer end of the container's terminal. */
  readonly terminal?: Fd;
}

export function launch(places: Places, prepared: Prepared, options: LaunchOptions): Launched {
  const { record, snapshot, view, filter } = prepared;
  const config = withSize(prepared.config, options.size);
  const terminal = config.process?.terminal === true;
  using nothing = Fd.from("openat", -100, "/dev/null", O_RDWR | O_CLOEXEC);
  const sockets = terminal ? socketPair() : undefined;
  const [ours, theirs] = sockets ?? [];
  try {
    const container = createContainer({
      id: record.id,
      bundle: snapshot.directory,
      config,
      stateRoot: places.runRoot,
      mode: "run",
      rootMount: { rows: snapshot.mount.rows(), resolve: (path) => view.locate(path) },
      stdio: [options.stdin ?? nothing.number, options.stdout, options.stderr],
      // one with a terminal may be detached from, and is hung up when we die
      dieWithParent: !terminal,
      init: options.init,
      noCgroups: config.linux?.uidMappings !== undefined,
      ...(filter !== undefined && { seccompFilter: filter }),
      ...(theirs !== undefined && { console: theirs }),
    });
    theirs?.close();
    return ours === undefined ? { container } : { container, terminal: receiveDescriptor(ours) };
  } catch (cause) {
    const status = cause instanceof LaunchError ? cause.exitCode : 125;
    throw new ContainerError(`Cannot start container "${record.name}"`, { cause, status });
  } finally {
    ours?.close();
    theirs?.close();
    view[Symbol.dispose]();
  }
}

function withSize(config: RuntimeConfig, size: TerminalSize | undefined): RuntimeConfig {
  const { process } = config;
  if (size === undefined || process?.terminal !== true) return config;
  return { ...config, process: { ...process, consoleSize: size } };
}

/** Takes away what the runtime made, once the process has ended and was waited for. */
export function cleanUp({ record, directory }: CreatedContainer): void {
  destroyContainer({ ...record, directory, pid: 0, status: "stopped" });
}
