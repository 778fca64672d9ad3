/**
 * Starts a worker thread from its entry file, wherever we run: Node running from source needs tsx
 * registered inside the thread too; in the built library the entry lies beside the importing file;
 * in the executable it has the name `bun build --compile` keeps, relative to the repository.
 */
import { createRequire } from "node:module";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";

/** @param path from the project's root, in the folder of `here`, which is import.meta.url. */
export function startWorker(path: string, here: string, options: WorkerOptions = {}): Worker {
  if (here.includes("/$bunfs/")) return new Worker(`./${path}`, options);
  const name = basename(path);
  if (!here.endsWith(".ts")) return new Worker(new URL(name.replace(/ts$/, "js"), here), options);
  const entry = new URL(name, here);
  if ("Bun" in globalThis) return new Worker(entry, options);
  // require.resolve finds the CommonJS twin, which cannot register hooks from a thread.
  const twin = createRequire(here)
    .resolve("tsx/esm/api")
    .replace(/\.cjs$/, ".mjs");
  const bootstrap = `import(${JSON.stringify(pathToFileURL(twin).href)}).then(({ register }) => {
    register();
    return import(${JSON.stringify(entry.href)});
  });`;
  return new Worker(bootstrap, { ...options, eval: true });
}
