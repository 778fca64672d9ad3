/** Run as a process by docker-registry.test.ts: pulls a blob into a file, slowly, to be killed. */
import { openSync, writeSync } from "node:fs";
import { openRegistryClient } from "../../registry-client/index.ts";

const { place, descriptor, file } = JSON.parse(process.argv.at(-1) ?? "");
const { signal } = new AbortController();
const client = openRegistryClient({ configPath: `${file}.json`, proxies: {} });
const fd = openSync(file, "w");
for await (const chunk of client.fetchBlob(place, descriptor, { signal })) {
  writeSync(fd, chunk);
  await new Promise((resolve) => setTimeout(resolve, 5));
}
