/** Proxies that want a password, refuse, or are not there. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { parsePlatform, parseReference } from "../../oci/index.ts";
import { ConnectionError } from "../../registry-client/index.ts";
import { openTestClient, signal } from "./client.ts";
import { imageAnswer, imageOf } from "./images.ts";
import { listeningAddress, serve } from "./server.ts";

const image = imageOf();
const platform = parsePlatform("linux/amd64");

/** A proxy that serves an image itself to those who know the password, and tunnels nothing. */
async function startProxy() {
  const seen: { readonly line: string; readonly password: string }[] = [];
  const look = ({ method, url, headers }: IncomingMessage) => {
    const sent = headers["proxy-authorization"] ?? "";
    const password = Buffer.from(sent.replace("Basic ", ""), "base64").toString();
    seen.push({ line: `${method} ${url}`, password });
    return password === "us@er:pa:ss";
  };
  const proxy = createServer((incoming, response) => {
    const isKnown = look(incoming);
    serve(
      (request) => (isKnown ? imageAnswer(request, image) : { status: 407 }),
      [],
      incoming,
      response,
    ).catch(() => response.destroy());
  });
  proxy.on("connect", (incoming, client: Socket) => {
    const status = look(incoming) ? "502 Bad Gateway" : "407 Proxy Authentication Required";
    client.end(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    domain: `127.0.0.1:${listeningAddress(proxy.address()).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      proxy.closeAllConnections();
      await new Promise<void>((resolve) => proxy.close(() => resolve()));
    },
  };
}

const isProxyProblem = (error: unknown) =>
  error instanceof ConnectionError &&
  error.problem === "proxy" &&
  error.hint !== undefined &&
  !error.message.includes("secret");

describe("a proxy with a password", () => {
  it("gets it, for plain HTTP", async () => {
    await using proxy = await startProxy();
    await using test = openTestClient({
      proxies: { http: `http://us%40er:pa%3Ass@${proxy.domain}` },
      insecure: ["plain.example"],
    });
    const reference = parseReference("plain.example/a/b:1");
    await test.client.resolve(reference, { platform, signal });
    assert.deepEqual(proxy.seen.at(-1), {
      line: "GET http://plain.example/v2/a/b/manifests/1",
      password: "us@er:pa:ss",
    });
  });

  it("gets it, for a tunnel", async () => {
    await using proxy = await startProxy();
    await using test = openTestClient({
      proxies: { https: `http://us%40er:pa%3Ass@${proxy.domain}` },
    });
    await assert.rejects(
      test.client.resolve(parseReference("r.example/a/b:1"), { platform, signal }),
      isProxyProblem,
    );
    assert.deepEqual(proxy.seen, [{ line: "CONNECT r.example:443", password: "us@er:pa:ss" }]);
  });

  for (const [what, domain, scheme] of [
    ["a tunnel", "r.example", "https"],
    ["plain HTTP", "plain.example", "http"],
  ] as const) {
    it(`refuses ${what} without the right one, and is named as the cause`, async () => {
      await using proxy = await startProxy();
      await using test = openTestClient({
        proxies: { [scheme]: `http://me:secret@${proxy.domain}` },
        insecure: ["plain.example"],
      });
      await assert.rejects(
        test.client.resolve(parseReference(`${domain}/a/b:1`), { platform, signal }),
        isProxyProblem,
      );
      assert.equal(proxy.seen.length, 1);
    });
  }
});

describe("a proxy that is not there", () => {
  it("is an error at once", async () => {
    await using test = openTestClient({ proxies: { https: "http://127.0.0.1:1" } });
    await assert.rejects(
      test.client.resolve(parseReference("r.example/a/b:1"), { platform, signal }),
      (error: unknown) => error instanceof ConnectionError && error.problem === "refused",
    );
    assert.equal(test.events.length, 0);
  });
});
