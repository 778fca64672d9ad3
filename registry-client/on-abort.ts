/**
 * Many callbacks behind one listener. Node warns of a leak when a signal has more than ten
 * listeners, and a pull of several layers in several ranges has more than that under way.
 */
const callbacksOf = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls back once when the signal is aborted, at once if it is; returns how to take that back. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) {
    callback();
    return () => {};
  }
  const callbacks = callbacksOf.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
  };
}

/** The one listener stays as long as the signal lives. */
function listen(signal: AbortSignal): Set<() => void> {
  const callbacks = new Set<() => void>();
  callbacksOf.set(signal, callbacks);
  const callAll = () => {
    for (const callback of callbacks) callback();
    callbacks.clear();
  };
  signal.addEventListener("abort", callAll, { once: true });
  return callbacks;
}
