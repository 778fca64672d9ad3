/**
 * Runs one command in a container and reads what it prints.
 *
 *   node --import tsx examples/run-command.ts [IMAGE] [COMMAND...]
 *
 * In your own project, import from "manyworlds".
 */
import { run } from "../index.ts";

const [image = "busybox", ...command] = process.argv.slice(2);

await using container = await run({
  image,
  command: command.length > 0 ? command : ["uname", "-sr"],
  network: "none",
  memoryBytes: 64 * 1024 * 1024,
  signal: AbortSignal.timeout(60_000),
  onProgress: (event) => {
    if (event.type === "status") console.error(event.text);
  },
});

console.log((await new Response(container.stdout).text()).trimEnd());
process.exitCode = await container.wait();
