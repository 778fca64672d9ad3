/** Clients for tests: no configuration of the machine, fast retries, events kept. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  openRegistryClient,
  type RegistryClient,
  type RegistryClientOptions,
  type RegistryEvent,
} from "../../registry-client/index.ts";

export const signal = new AbortController().signal;

export interface TestClient extends AsyncDisposable {
  readonly client: RegistryClient;
  readonly events: readonly RegistryEvent[];
  /** An empty directory whose config.json the client uses. */
  readonly directory: string;
}

export function openTestClient(options: RegistryClientOptions = {}): TestClient {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-client-"));
  const events: RegistryEvent[] = [];
  const client = openRegistryClient({
    configPath: join(directory, "config.json"),
    proxies: {},
    retry: { baseDelayMs: 5, maxDelayMs: 20 },
    onEvent: (event) => events.push(event),
    ...options,
  });
  return {
    client,
    events,
    directory,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export function eventsOf<T extends RegistryEvent["type"]>(
  { events }: Pick<TestClient, "events">,
  type: T,
): readonly Extract<RegistryEvent, { readonly type: T }>[] {
  return events.filter(
    (event): event is Extract<RegistryEvent, { readonly type: T }> => event.type === type,
  );
}

export async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    chunks.push(value);
  }
}

export function streamOf(bytes: Uint8Array, chunkBytes = 64 * 1024): ReadableStream<Uint8Array> {
  let position = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (position >= bytes.length) controller.close();
        else controller.enqueue(bytes.subarray(position, position + chunkBytes));
        position += chunkBytes;
      },
    },
    { highWaterMark: 0 },
  );
}

/** Waits for what happens on the other side of a socket a moment later. */
export async function eventually(isTrue: () => boolean, patienceMs = 2000): Promise<boolean> {
  for (let waitedMs = 0; !isTrue() && waitedMs < patienceMs; waitedMs += 10) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return isTrue();
}
