/** Redirects: where they may lead, and what goes along. */
import assert from "node:assert/strict";
import { RedirectError } from "../../registry-client/index.ts";
import { imageAnswer } from "./images.ts";
import { image, isProblem, me, myHeader, pull } from "./private-image.ts";
import { type Answer, type Handler, type SeenRequest, startServer } from "./server.ts";

describe("redirects", () => {
  const isBlob = ({ path }: SeenRequest) => path.includes("/blobs/");
  const basicOnly =
    (blob: Handler): Handler =>
    (request, response) => {
      if (request.headers.authorization !== myHeader) {
        return { status: 401, headers: { "www-authenticate": "Basic realm=x" } };
      }
      return isBlob(request) ? blob(request, response) : imageAnswer(request, image);
    };
  const to = (location: string, status = 307): Answer => ({ status, headers: { location } });

  for (const [what, host] of [
    ["another port", "127.0.0.1"],
    ["another address", "127.0.0.2"],
  ] as const) {
    it(`Authorization does not go to ${what}`, async () => {
      await using storage = await startServer((request) => imageAnswer(request, image), host);
      await using server = await startServer(
        basicOnly(({ path }) => to(`${storage.origin}${path}`)),
      );
      await pull(server, me);
      assert.equal(storage.requests.length, 1);
      assert.equal(storage.requests[0]?.headers.authorization, undefined);
    });
  }

  it("Authorization does not go to another name of the same server", async () => {
    await using server = await startServer((request, response) => {
      if (request.host.startsWith("localhost")) return imageAnswer(request, image);
      return basicOnly(({ path, host }) =>
        to(`http://${host.replace("127.0.0.1", "localhost")}${path}`),
      )(request, response);
    });
    await pull(server, me);
    const elsewhere = server.requests.filter(({ host }) => host.startsWith("localhost"));
    assert.deepEqual(
      elsewhere.map(({ headers }) => headers.authorization),
      [undefined],
    );
  });

  it("Authorization does not come back when a redirect leads home again", async () => {
    await using storage = await startServer(({ path, query }) =>
      to(`http://${query.get("back")}${path}?home=1`),
    );
    await using server = await startServer((request, response) => {
      if (request.query.has("home")) return imageAnswer(request, image);
      return basicOnly(({ path, host }) => to(`${storage.origin}${path}?back=${host}`))(
        request,
        response,
      );
    });
    await pull(server, me);
    const home = server.requests.find(({ query }) => query.has("home"));
    assert.equal(home?.headers.authorization, undefined);
  });

  it("Authorization stays within the same origin", async () => {
    await using server = await startServer(
      basicOnly((request) =>
        request.query.has("moved")
          ? imageAnswer(request, image)
          : to(`${request.path}?moved=1`, 302),
      ),
    );
    await pull(server, me);
  });

  it("a challenge from where a redirect led gets no password", async () => {
    await using storage = await startServer(() => ({
      status: 401,
      headers: { "www-authenticate": "Basic realm=x" },
    }));
    await using server = await startServer(basicOnly(({ path }) => to(`${storage.origin}${path}`)));
    await assert.rejects(pull(server, me), isProblem("unauthorized"));
    assert.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it("a user and password in a Location are not sent", async () => {
    await using storage = await startServer((request) => imageAnswer(request, image));
    await using server = await startServer(
      basicOnly(({ path }) => to(`http://user:pass@${storage.domain}${path}`)),
    );
    await pull(server, me);
    assert.equal(storage.requests[0]?.headers.authorization, undefined);
  });

  for (const [why, location, message] of [
    ["a circle", "/v2/a/b/blobs/x", /more than 10/],
    ["plain HTTP elsewhere", "http://198.51.100.1/x", /plain HTTP on "198.51.100.1"/],
    ["the metadata service of a cloud", "http://169.254.169.254/latest", /plain HTTP/],
    ["a file", "file:///etc/passwd", /the scheme "file:"/],
    ["no URL", "http://", /no URL/],
  ] as const) {
    it(`a redirect to ${why} is not followed`, async () => {
      await using server = await startServer(basicOnly(() => to(location)));
      await assert.rejects(
        pull(server, me),
        (error: unknown) => error instanceof RedirectError && message.test(error.message),
      );
      assert.ok(server.requests.length < 20);
    });
  }
});
