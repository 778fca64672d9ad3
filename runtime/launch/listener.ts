/**
 * Handing a seccomp listener to its agent (runtime-spec 1.3 config-linux.md, "The Container
 * Process State"): the descriptor goes with a JSON text over a socket that the runtime connected.
 * The text holds our PID, which only the runtime knows, so it is asked for beforehand.
 */
import {
  type Argument,
  MSG_NOSIGNAL,
  SECCOMP_FILTER_FLAG_NEW_LISTENER,
} from "../../linux/index.ts";
import type { RowList } from "./row-list.ts";
import { message, planMessage, reportBuffer } from "./sync.ts";

export const listenerStateLimit = 16 * 1024;
const controlSize = 24;
const controlLength = 20;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** struct msghdr, struct iovec: offsets of their fields. */
const offsets = {
  iov: 16,
  iovCount: 24,
  control: 32,
  controlLength: 40,
  base: 0,
  length: 8,
} as const;
const msghdrSize = 56;

export interface ListenerPlan {
  /** Added to the flags of seccomp(2). */
  readonly flag: number;
  /** After the filter is loaded: sends the descriptor and closes it. */
  send(descriptor: Argument): void;
}

export function planListener(rows: RowList, socket: number): ListenerPlan {
  const state = rows.buffer("listener_state", listenerStateLimit);
  planMessage(rows, message.listenerState);
  const report = { load: reportBuffer, width: 4 } as const;
  const length = rows.result("read", [report, state, listenerStateLimit]);
  rows.add({ jump: "abandoned", if: [length, "<=", 0] });
  return {
    flag: SECCOMP_FILTER_FLAG_NEW_LISTENER,
    send(descriptor) {
      const put = (buffer: string, offset: number, value: Argument, width: 4 | 8) =>
        rows.add({ store: { buffer, offset }, value, width });
      rows.buffer("listener_control", controlSize);
      rows.buffer("listener_vector", 16);
      rows.buffer("listener_message", msghdrSize);
      put("listener_control", 0, controlLength, 8);
      put("listener_control", 8, SOL_SOCKET, 4);
      put("listener_control", 12, SCM_RIGHTS, 4);
      put("listener_control", 16, descriptor, 4);
      put("listener_vector", offsets.base, state, 8);
      put("listener_vector", offsets.length, length, 8);
      put("listener_message", offsets.iov, { buffer: "listener_vector" }, 8);
      put("listener_message", offsets.iovCount, 1, 8);
      put("listener_message", offsets.control, { buffer: "listener_control" }, 8);
      put("listener_message", offsets.controlLength, controlSize, 8);
      rows.call("sendmsg", [socket, { buffer: "listener_message" }, MSG_NOSIGNAL], {
        note: "hand the seccomp listener to its agent",
      });
      rows.call("close", [descriptor]);
    },
  };
}
