/**
 * Sleeps in epoll_wait for the device thread, whose own event loop cannot watch eventfds.
 * Protocol: poller.ts.
 */
import { parentPort, workerData } from "node:worker_threads";
import { syscall } from "../../linux/index.ts";
import { EVENT_BYTES, MAX_EVENTS, PENDING, type PollSetup, QUIT } from "./poller.ts";

// SAFE: poller.ts starts this worker with exactly this data.
const { epoll, flags } = workerData as PollSetup;
const EINTR = -4;
const words = new Int32Array(flags);
const events = new Uint8Array(EVENT_BYTES * MAX_EVENTS);
const view = new DataView(events.buffer);

for (let running = true; running; ) {
  const count = syscall("epoll_pwait", epoll, events, MAX_EVENTS, -1, 0, 8);
  // Anything but a signal means that the descriptor is gone: spinning would not bring it back.
  if (count < 0 && count !== EINTR) break;
  for (let i = 0; i < count; i++) {
    const id = view.getUint32(i * EVENT_BYTES + 4, true);
    if (id === QUIT) running = false;
    else Atomics.store(words, id, 1);
  }
  // One message at a time: a guest that rings all day must not fill the queue of messages.
  if (count > 0 && Atomics.exchange(words, PENDING, 1) === 0) parentPort?.postMessage(0);
}
parentPort?.close();
