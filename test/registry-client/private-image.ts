/** An image that only "me" may pull, for tests of authorization. */
import assert from "node:assert/strict";
import { parsePlatform, parseReference } from "../../oci/index.ts";
import { type Credentials, RegistryError } from "../../registry-client/index.ts";
import { collect, openTestClient, signal } from "./client.ts";
import { imageOf, sha256 } from "./images.ts";
import type { TestServer } from "./server.ts";

export const image = imageOf();
export const platform = parsePlatform("linux/amd64");
export const me: Credentials = { kind: "basic", username: "me", password: "pass:word" };
export const myHeader = `Basic ${Buffer.from("me:pass:word").toString("base64")}`;

/** Pulls manifest and layer of `a/b:1` as a client of its own. */
export async function pull(
  server: TestServer,
  credentials: Credentials | undefined = undefined,
): Promise<void> {
  await using test = openTestClient({ findCredentials: () => Promise.resolve(credentials) });
  const reference = parseReference(`${server.domain}/a/b:1`);
  const { manifest } = await test.client.resolve(reference, { platform, signal });
  const [layer] = manifest.layers;
  assert.ok(layer !== undefined);
  const bytes = await collect(test.client.fetchBlob(reference, layer, { signal }));
  assert.equal(sha256(bytes), layer.digest);
}

export const isProblem = (problem: string) => (error: unknown) =>
  error instanceof RegistryError && error.failure.problem === problem;
