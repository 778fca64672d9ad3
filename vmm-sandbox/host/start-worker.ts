/**
 * Starts a worker thread from its entry file, wherever we run: Bun and the built library take the
 * file as it is; Node running from source needs tsx registered inside the thread too.
 */
import { Worker, type WorkerOptions } from "node:worker_threads";

export function startWorker(entry: URL, options: WorkerOptions = {}): Worker {
  if ("Bun" in globalThis || !entry.pathname.endsWith(".ts")) return new Worker(entry, options);
  const bootstrap = `import("tsx/esm/api").then(({ register }) => {
    register();
    return import(${JSON.stringify(entry.href)});
  });`;
  return new Worker(bootstrap, { ...options, eval: true });
}
