/** The executable's side of run.ts: what it tells the door that called it. */
import { call, encodeUtf8, F_SETFD, FD_CLOEXEC, Fd, syscall } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { planNamespaces } from "../launch/namespaces.ts";
import { handoverDescriptor, handoverMessage, handoverSizeLimit } from "./run.ts";

export interface Handover {
  /** The container is the door's to wait for and remove; this process is no longer needed. */
  ran(pid: number, root: string, id: string): void;
  /** We look after it ourselves: the door passes signals on to us. */
  stay(): void;
}

/** undefined when we were not called by a door that waits. */
export function openHandover(calledAs: string): Handover | undefined {
  if (!calledAs.endsWith(`:${handoverDescriptor}`)) return undefined;
  if (syscall("fcntl", handoverDescriptor, F_SETFD, FD_CLOEXEC) < 0) return undefined;
  const socket = Fd.take(handoverDescriptor);
  const say = (code: number, pid: number, text: string) => {
    const bytes = new Uint8Array(handoverSizeLimit);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, code, true);
    view.setUint32(4, pid, true);
    const encoded = encodeUtf8(`${text}\0`);
    bytes.set(encoded, 8);
    call("write", socket, bytes, 8 + encoded.length);
  };
  return {
    ran: (pid, root, id) => say(handoverMessage.ran, pid, `${root}\0${id}`),
    stay: () => say(handoverMessage.stay, 0, ""),
  };
}

/** Whether a door can wait for the container: it is our clone's sibling, and simple to remove. */
export function canHandOver({ hooks, linux }: RuntimeConfig, root: string, id: string): boolean {
  const namespaces = planNamespaces(linux?.namespaces);
  const hasHooks = Object.values(hooks ?? {}).some((list) => (list?.length ?? 0) > 0);
  const fits = 3 * (root.length + id.length) < handoverSizeLimit / 2;
  return namespaces.has("pid") && !namespaces.staged && !hasHooks && fits && root.startsWith("/");
}
