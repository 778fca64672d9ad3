/** login and logout: checked with the registry, kept where docker keeps them. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { RegistryError } from "../../registry-client/index.ts";
import { eventsOf, openTestClient, signal } from "./client.ts";
import { base64, fileHelper, installHelper, withDirectory } from "./login-directory.ts";
import { startServer } from "./server.ts";

describe("login() and logout()", () => {
  const basicRegistry = () =>
    startServer(({ headers }) =>
      headers.authorization === `Basic ${base64("me:secret")}`
        ? {}
        : { status: 401, headers: { "www-authenticate": "Basic realm=x" } },
    );
  const me = { username: "me", password: "secret", signal };

  it("keep the login in config.json, and forget it", async () => {
    await using server = await basicRegistry();
    await using test = openTestClient();
    const path = join(test.directory, "config.json");
    assert.deepEqual(await test.client.login(server.domain, me), { storedIn: { file: path } });
    const stored = JSON.parse(readFileSync(path, "utf8"));
    assert.deepEqual(stored.auths, { [server.domain]: { auth: base64("me:secret") } });
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await test.client.ping(server.domain, { signal });
    await test.client.logout(server.domain, { signal });
    assert.deepEqual(JSON.parse(readFileSync(path, "utf8")).auths, {});
    await assert.rejects(test.client.ping(server.domain, { signal }), RegistryError);
  });

  it("a wrong password is refused and not kept", async () => {
    await using server = await basicRegistry();
    await using test = openTestClient();
    await assert.rejects(
      test.client.login(server.domain, { ...me, password: "wrong" }),
      (error: unknown) =>
        error instanceof RegistryError &&
        error.failure.problem === "unauthorized" &&
        !error.message.includes("wrong"),
    );
    assert.throws(() => statSync(join(test.directory, "config.json")));
  });

  it("keep the identity token where the token server gives one, not the password", async () => {
    await using server = await startServer(({ path, query, headers, host, method, body }) => {
      if (path === "/token" && method === "POST") {
        const form = new URLSearchParams(body.toString());
        return form.get("refresh_token") === "identity"
          ? { body: '{"access_token":"t"}' }
          : { status: 401 };
      }
      if (path === "/token") {
        if (headers.authorization !== `Basic ${base64("me:secret")}`) return { status: 401 };
        assert.equal(query.get("offline_token"), "true");
        return { body: '{"token":"t","refresh_token":"identity"}' };
      }
      if (headers.authorization === "Bearer t") return {};
      return {
        status: 401,
        headers: { "www-authenticate": `Bearer realm="http://${host}/token",service="s"` },
      };
    });
    await using test = openTestClient();
    await test.client.login(server.domain, me);
    const text = readFileSync(join(test.directory, "config.json"), "utf8");
    assert.deepEqual(JSON.parse(text).auths[server.domain], {
      auth: base64("me:"),
      identitytoken: "identity",
    });
    await test.client.ping(server.domain, { signal });
    assert.equal(server.requests.filter(({ method }) => method === "POST").length, 1);
  });

  it(
    "use the helper that is configured",
    withDirectory(async (directory, config) => {
      await using server = await basicRegistry();
      installHelper(directory, "files", fileHelper(directory));
      const configPath = config({ credsStore: "files" });
      await using test = openTestClient({ configPath });
      const result = await test.client.login(server.domain, me);
      assert.deepEqual(result, { storedIn: { helper: "docker-credential-files" } });
      assert.ok(!readFileSync(configPath, "utf8").includes(base64("me:secret")));
      assert.deepEqual(JSON.parse(readFileSync(configPath, "utf8")).auths, { [server.domain]: {} });
      await test.client.ping(server.domain, { signal });
      await test.client.logout(server.domain, { signal });
      await assert.rejects(test.client.ping(server.domain, { signal }), RegistryError);
    }),
  );

  it("a registry that lets anybody in is said to", async () => {
    await using server = await startServer(() => ({}));
    await using test = openTestClient();
    await test.client.login(server.domain, me);
    assert.match(eventsOf(test, "warning")[0]?.message ?? "", /lets anybody in/);
  });

  it("logout without login is no error and makes no file", async () => {
    await using test = openTestClient();
    await test.client.logout("r.example", { signal });
    assert.throws(() => statSync(join(test.directory, "config.json")));
  });
});
