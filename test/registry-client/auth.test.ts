/** Authorization against registries that are strict, forgetful or hostile. */
import assert from "node:assert/strict";
import { parseReference, SpecError } from "../../oci/index.ts";
import { RegistryError } from "../../registry-client/index.ts";
import { eventsOf, eventually, openTestClient, signal } from "./client.ts";
import { imageAnswer } from "./images.ts";
import { image, isProblem, me, myHeader, platform, pull } from "./private-image.ts";
import { type Answer, type Handler, type SeenRequest, startServer } from "./server.ts";

/** A registry with its token server on the same port; `accepts` decides about tokens. */
function withTokens(
  accepts: (token: string, request: SeenRequest) => boolean,
  token: Handler,
): Handler {
  return (request, response) => {
    if (request.path === "/token") return token(request, response);
    const sent = request.headers.authorization ?? "";
    if (sent.startsWith("Bearer ") && accepts(sent.slice(7), request))
      return imageAnswer(request, image);
    const realm = `http://${request.host}/token`;
    const scope = request.path === "/v2/" ? "" : ',scope="repository:a/b:pull"';
    return {
      status: 401,
      headers: { "www-authenticate": `Bearer realm="${realm}",service="s"${scope}` },
    };
  };
}

describe("authorization", () => {
  it("sends nothing before the registry asks", async () => {
    await using server = await startServer((request) => imageAnswer(request, image));
    await pull(server, me);
    assert.ok(server.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it("sends Basic where the registry asks for it", async () => {
    await using server = await startServer((request) =>
      request.headers.authorization === myHeader
        ? imageAnswer(request, image)
        : { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } },
    );
    await pull(server, me);
  });

  it("prefers Bearer where both are offered: the password goes to the token server only", async () => {
    await using server = await startServer((request) => {
      if (request.path === "/token") return { body: '{"token":"t"}' };
      if (request.headers.authorization === "Bearer t") return imageAnswer(request, image);
      const bearer = `Bearer realm="http://${request.host}/token"`;
      return { status: 401, headers: { "www-authenticate": ['Basic realm="x"', bearer] } };
    });
    await pull(server, me);
    for (const { path, headers } of server.requests) {
      if (path !== "/token") assert.notEqual(headers.authorization, myHeader);
    }
  });

  it("renews a token that the registry no longer takes", async () => {
    let issued = 0;
    await using server = await startServer(
      withTokens(
        // The first token serves for the manifest only.
        (token, { path }) => token === (path.includes("/blobs/") ? "t2" : "t1"),
        () => ({ body: `{"token":"t${++issued}","expires_in":3600}` }),
      ),
    );
    await pull(server);
    assert.equal(issued, 2);
  });

  it("renews a token that has expired, without asking the registry first", async () => {
    let issued = 0;
    let refused = 0;
    await using server = await startServer((request, response) => {
      const answer = withTokens(
        () => true,
        () => ({ body: `{"token":"t${++issued}","expires_in":0}` }),
      );
      if (request.headers.authorization === undefined && request.path !== "/token") refused++;
      return answer(request, response);
    });
    await pull(server);
    assert.equal(issued, 2);
    // The probe of /v2/ and the first manifest request.
    assert.equal(refused, 2);
  });

  it("fetches one token for many requests at once", async () => {
    await using server = await startServer(
      withTokens(
        () => true,
        async () => {
          await new Promise((resolve) => setTimeout(resolve, 50));
          return { body: '{"token":"t","expires_in":300}' };
        },
      ),
    );
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b:1`);
    await test.client.resolve(reference, { platform, signal });
    await Promise.all(
      Array.from({ length: 10 }, () => test.client.resolve(reference, { platform, signal })),
    );
    assert.equal(server.requests.filter(({ path }) => path === "/token").length, 1);
  });

  it("one caller's abort does not fail another who waits for the same token", async () => {
    let tokens = 0;
    await using server = await startServer(
      withTokens(
        () => true,
        async () => {
          if (++tokens === 1) await new Promise((resolve) => setTimeout(resolve, 200));
          return { body: '{"token":"t","expires_in":300}' };
        },
      ),
    );
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b:1`);
    const abort = new AbortController();
    const first = test.client.resolve(reference, { platform, signal: abort.signal });
    await eventually(() => tokens === 1);
    const second = test.client.resolve(reference, { platform, signal });
    setTimeout(() => abort.abort(new Error("not me")), 100);
    await assert.rejects(first, /not me/);
    assert.equal((await second).descriptor.digest, image.manifest.descriptor.digest);
  });

  it("who waits for another's token is aborted at once all the same", async () => {
    await using server = await startServer(
      withTokens(
        () => true,
        async () => {
          await new Promise((resolve) => setTimeout(resolve, 500));
          return { body: '{"token":"t","expires_in":300}' };
        },
      ),
    );
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b:1`);
    const first = test.client.resolve(reference, { platform, signal });
    const abort = new AbortController();
    await eventually(() => server.requests.some(({ path }) => path === "/token"));
    const second = test.client.resolve(reference, { platform, signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 100);
    const startMs = performance.now();
    await assert.rejects(second, /enough/);
    assert.ok(performance.now() - startMs < 400);
    await first;
    assert.equal(server.requests.filter(({ path }) => path === "/token").length, 1);
  });

  it("many requests under one signal are no leak to Node", async () => {
    await using server = await startServer(
      withTokens(
        () => true,
        () => ({ body: '{"token":"t"}' }),
      ),
    );
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b:1`);
    const warnings: string[] = [];
    const onWarning = ({ name }: Error) => warnings.push(name);
    process.on("warning", onWarning);
    const own = new AbortController();
    await Promise.all(
      Array.from({ length: 40 }, () =>
        test.client.resolve(reference, { platform, signal: own.signal }),
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("warning", onWarning);
    assert.deepEqual(warnings, []);
  });

  it("loopback is reached directly, whatever HTTP_PROXY says", async () => {
    await using server = await startServer((request) => imageAnswer(request, image));
    const before = process.env["HTTP_PROXY"];
    process.env["HTTP_PROXY"] = "http://127.0.0.1:1";
    try {
      await pull(server);
    } finally {
      if (before === undefined) delete process.env["HTTP_PROXY"];
      else process.env["HTTP_PROXY"] = before;
    }
  });

  it("widens the scope when the registry asks for more", async () => {
    await using server = await startServer((request) => {
      if (request.path === "/token")
        return { body: JSON.stringify({ token: request.query.getAll("scope").join("|") }) };
      if (request.headers.authorization?.includes("registry:catalog:*") === true)
        return imageAnswer(request, image);
      const challenge = `Bearer realm="http://${request.host}/token",scope="repository:a/b:pull registry:catalog:*"`;
      return { status: 401, headers: { "www-authenticate": challenge } };
    });
    await pull(server);
    const tokens = server.requests.filter(({ path }) => path === "/token");
    assert.deepEqual(tokens.at(-1)?.query.getAll("scope"), [
      "repository:a/b:pull",
      "registry:catalog:*",
    ]);
    assert.equal(tokens.length, 1);
  });

  it("fails after one renewal when the registry never takes a token", async () => {
    await using server = await startServer(
      withTokens(
        () => false,
        () => ({ body: '{"token":"t"}' }),
      ),
    );
    await assert.rejects(pull(server), isProblem("unauthorized"));
    assert.ok(server.requests.length < 8);
  });

  it("a wrong password is refused once, not repeated", async () => {
    await using server = await startServer(() => ({
      status: 401,
      headers: { "www-authenticate": 'Basic realm="x"' },
    }));
    await assert.rejects(pull(server, me), isProblem("unauthorized"));
    // Probe, anonymous, with password.
    assert.equal(server.requests.length, 3);
  });

  it("a registry token is sent as it is", async () => {
    await using server = await startServer(
      withTokens(
        (token) => token === "given",
        () => ({ status: 500 }),
      ),
    );
    await pull(server, { kind: "bearer", registryToken: "given" });
  });

  it("tries the token server again after 503", async () => {
    let count = 0;
    await using server = await startServer(
      withTokens(
        () => true,
        () => (++count === 1 ? { status: 503 } : { body: '{"token":"t"}' }),
      ),
    );
    await pull(server);
    assert.equal(count, 2);
  });

  for (const [why, answer, error] of [
    [
      "refuses",
      { status: 403, body: '{"error":"access_denied","error_description":"no"}' },
      RegistryError,
    ],
    ["answers HTML", { body: "<html>" }, SpecError],
    ["answers without token", { body: "{}" }, SpecError],
    [
      "answers a token with a newline",
      { body: JSON.stringify({ token: "a\r\nX-Evil: 1" }) },
      SpecError,
    ],
    [
      "answers a token of 100 KiB",
      { body: JSON.stringify({ token: "x".repeat(100_000) }) },
      SpecError,
    ],
    ["answers 1 MiB", { body: " ".repeat(1024 * 1024) }, /longer than 262144/],
    ["answers a token that is a number", { body: '{"token":5}' }, SpecError],
  ] as const satisfies readonly (readonly [string, Answer, unknown])[]) {
    it(`fails clearly when the token server ${why}`, async () => {
      await using server = await startServer(
        withTokens(
          () => true,
          () => answer,
        ),
      );
      await assert.rejects(pull(server), error);
    });
  }

  for (const [why, realm] of [
    ["no URL", "nonsense"],
    ["plain HTTP on another machine", "http://auth.example/token"],
    ["a file", "file:///etc/passwd"],
    ["empty", ""],
  ] as const) {
    it(`a realm that is ${why} gets no password`, async () => {
      await using server = await startServer(() => ({
        status: 401,
        headers: { "www-authenticate": `Bearer realm="${realm}",service="s"` },
      }));
      await assert.rejects(pull(server, me), SpecError);
    });
  }

  it("a challenge that makes no sense is a refusal, with a warning", async () => {
    await using server = await startServer(() => ({
      status: 401,
      headers: { "www-authenticate": 'Bearer realm="' },
    }));
    await using test = openTestClient();
    const reference = parseReference(`${server.domain}/a/b:1`);
    await assert.rejects(
      test.client.resolve(reference, { platform, signal }),
      isProblem("unauthorized"),
    );
    assert.match(eventsOf(test, "warning")[0]?.message ?? "", /WWW-Authenticate/);
  });
});
