/** The runtime's part in handing seccomp listeners to their agent; launch/listener.ts is the other. */
import { call, type Fd } from "../linux/index.ts";
import type { ContainerState, Seccomp } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";
import { listenerStateLimit } from "./launch/listener.ts";
import { connectTo } from "./sockets.ts";
import { ociVersion } from "./state.ts";

/** Connected to the agent that `listenerPath` names; undefined when nothing is notified. */
export function connectListener(seccomp: Seccomp | undefined): Fd | undefined {
  const notifies = seccomp?.syscalls?.some(({ action }) => action === "SCMP_ACT_NOTIFY");
  if (seccomp === undefined || notifies !== true) return undefined;
  if (!seccomp.listenerPath)
    throw new LaunchError("Cannot use SCMP_ACT_NOTIFY: linux.seccomp.listenerPath is missing");
  try {
    return connectTo(seccomp.listenerPath);
  } catch (cause) {
    throw new LaunchError(`Cannot connect to the seccomp agent at "${seccomp.listenerPath}"`, 125, {
      cause,
    });
  }
}

/** Answers the program with the container process state that goes with the descriptor. */
export function sendListenerState(
  sync: Fd,
  seccomp: Seccomp | undefined,
  state: ContainerState,
  pid: number,
): void {
  const text = JSON.stringify({
    ociVersion,
    fds: ["seccompFd"],
    pid,
    metadata: seccomp?.listenerMetadata ?? "",
    state,
  });
  const bytes = Buffer.from(text);
  if (bytes.length > listenerStateLimit)
    throw new LaunchError(
      `Cannot hand over the seccomp listener: its state takes ${bytes.length} bytes, ` +
        `expected at most ${listenerStateLimit}`,
    );
  call("write", sync, bytes, bytes.length);
}
