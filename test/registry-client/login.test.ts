/** Logins: docker's config.json, credential helpers, and the flows that fill them. */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SpecError } from "../../oci/index.ts";
import { getFromHelper } from "../../registry-client/auth/credential-helper.ts";
import {
  dockerConfigPath,
  helperFor,
  readDockerConfig,
  storedCredentials,
  writeAuthEntry,
} from "../../registry-client/auth/docker-config.ts";
import { dockerCredentials } from "../../registry-client/auth/find-credentials.ts";
import {
  CredentialHelperError,
  RegistryError,
  type RegistryEvent,
} from "../../registry-client/index.ts";
import { fuzzText } from "../oci/fuzz.ts";
import { eventsOf, openTestClient, signal } from "./client.ts";
import { startServer } from "./server.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const HUB = "https://index.docker.io/v1/";

/** A directory whose `bin` is first in PATH while the test runs. */
function withDirectory<T>(
  run: (directory: string, config: (value: unknown) => string) => Promise<T>,
): () => Promise<T> {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-login-"));
    const before = process.env["PATH"];
    mkdirSync(join(directory, "bin"));
    process.env["PATH"] = `${join(directory, "bin")}:${before}`;
    try {
      return await run(directory, (value) => {
        const path = join(directory, "config.json");
        writeFileSync(path, typeof value === "string" ? value : JSON.stringify(value));
        return path;
      });
    } finally {
      process.env["PATH"] = before;
      rmSync(directory, { recursive: true, force: true });
    }
  };
}

function installHelper(directory: string, name: string, script: string): void {
  const path = join(directory, "bin", `docker-credential-${name}`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

/** Keeps logins in files; speaks the whole protocol. */
const fileHelper = (directory: string) => `
dir="${directory}/kept"; mkdir -p "$dir"; input=$(cat)
key() { printf %s "$1" | tr -c 'a-zA-Z0-9' _; }
case "$1" in
  get) f="$dir/$(key "$input")"; [ -f "$f" ] && cat "$f" || { echo "credentials not found in native keychain"; exit 1; } ;;
  store) url=$(printf %s "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/'); printf %s "$input" > "$dir/$(key "$url")" ;;
  erase) rm -f "$dir/$(key "$input")" ;;
  *) echo unknown; exit 1 ;;
esac`;

describe("docker's config.json", () => {
  it("is where docker has it", () => {
    assert.equal(dockerConfigPath({ DOCKER_CONFIG: "/x" }), "/x/config.json");
    assert.equal(dockerConfigPath({ HOME: "/home/me" }), "/home/me/.docker/config.json");
  });

  for (const [what, entries, server, expected] of [
    [
      "base64 of user and password",
      { "r.example": { auth: base64("me:pass:word") } },
      "r.example",
      { kind: "basic", username: "me", password: "pass:word" },
    ],
    [
      "user and password apart",
      { "r.example": { username: "me", password: "p" } },
      "r.example",
      { kind: "basic", username: "me", password: "p" },
    ],
    [
      "an identity token",
      { "r.example": { auth: base64("me:"), identitytoken: "id" } },
      "r.example",
      { kind: "identity", identityToken: "id", username: "me" },
    ],
    [
      "a registry token",
      { "r.example": { registrytoken: "rt" } },
      "r.example",
      { kind: "bearer", registryToken: "rt" },
    ],
    [
      "an old entry that is a URL",
      { "https://r.example/v1/": { auth: base64("a:b") } },
      "r.example",
      { kind: "basic", username: "a", password: "b" },
    ],
    [
      "Docker Hub",
      { [HUB]: { auth: base64("a:b") } },
      HUB,
      { kind: "basic", username: "a", password: "b" },
    ],
    [
      "the exact server before one of the same host",
      { "https://r.example/": { auth: base64("old:x") }, "r.example": { auth: base64("new:x") } },
      "r.example",
      { kind: "basic", username: "new", password: "x" },
    ],
    [
      "padding of old versions",
      { "r.example": { auth: base64("a:b\0\0") } },
      "r.example",
      { kind: "basic", username: "a", password: "b" },
    ],
    ["another port", { "r.example:5000": { auth: base64("a:b") } }, "r.example", undefined],
    ["an empty entry, as beside a helper", { "r.example": {} }, "r.example", undefined],
    ["none", {}, "r.example", undefined],
  ] as const) {
    it(`reads ${what}`, () =>
      assert.deepEqual(storedCredentials({ auths: entries }, server), expected));
  }

  it("a server's own helper comes before the store", () => {
    const config = { credsStore: "all", credHelpers: { "r.example": "own" } };
    assert.equal(helperFor(config, "r.example"), "own");
    assert.equal(helperFor(config, "other.example"), "all");
    assert.equal(helperFor({}, "r.example"), undefined);
  });

  it("an auth that is no user:password is refused without showing it", () => {
    assert.throws(
      () => storedCredentials({ auths: { r: { auth: base64("secret") } } }, "r"),
      (error: unknown) =>
        error instanceof SpecError &&
        !error.message.includes("secret") &&
        !error.message.includes(base64("secret")),
    );
  });

  it(
    "writing keeps what is not ours, its order and its form; mode 0600",
    withDirectory(async (_, config) => {
      const path = config(
        '{"HttpHeaders":{"X":"1"},"auths":{"b":{"auth":"x","extra":1}},"plugins":{"p":{"k":"v"}}}',
      );
      chmodSync(path, 0o644);
      await writeAuthEntry(path, "r.example", { auth: base64("a:b") });
      const text = readFileSync(path, "utf8");
      assert.deepEqual(JSON.parse(text), {
        HttpHeaders: { X: "1" },
        auths: { b: { auth: "x", extra: 1 }, "r.example": { auth: base64("a:b") } },
        plugins: { p: { k: "v" } },
      });
      assert.match(text, /^\{\n\t"HttpHeaders"/);
      assert.equal(statSync(path).mode & 0o777, 0o600);
    }),
  );

  it(
    "writing through a symbolic link replaces its target",
    withDirectory(async (directory, config) => {
      const target = config("{}");
      const link = join(directory, "link.json");
      symlinkSync(target, link);
      await writeAuthEntry(link, "r.example", { auth: "eA==" });
      assert.ok(readFileSync(target, "utf8").includes("r.example"));
      assert.equal(statSync(target).mode & 0o777, 0o600);
    }),
  );

  it(
    "a file that is not understood is not overwritten",
    withDirectory(async (_, config) => {
      const path = config('{"auths": [1]}');
      await assert.rejects(writeAuthEntry(path, "r.example", {}), SpecError);
      assert.equal(readFileSync(path, "utf8"), '{"auths": [1]}');
    }),
  );

  it(
    "whatever the file holds, it is read or refused (fuzz)",
    withDirectory(async (_, config) => {
      const texts: string[] = [];
      fuzzText(
        [
          JSON.stringify({
            auths: { "https://r.example/v1/": { auth: base64("a:b"), identitytoken: "x" } },
            credHelpers: { a: "b" },
          }),
        ],
        (text) => texts.push(text),
      );
      for (const text of texts.slice(0, 300)) {
        const path = config(text);
        try {
          const read = await readDockerConfig(path);
          storedCredentials(read, "r.example");
          helperFor(read, "r.example");
        } catch (error) {
          if (!(error instanceof SpecError)) throw error;
        }
      }
    }),
  );
});

describe("credential helpers", () => {
  it(
    "give a password",
    withDirectory(async (directory) => {
      installHelper(
        directory,
        "good",
        'read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"me\\",\\"Secret\\":\\"for $server\\"}"',
      );
      const found = await getFromHelper("good", "r.example", { signal });
      assert.deepEqual(found, { kind: "basic", username: "me", password: "for r.example" });
    }),
  );

  it(
    "give an identity token",
    withDirectory(async (directory) => {
      installHelper(directory, "token", 'echo \'{"Username":"<token>","Secret":"id"}\'');
      assert.deepEqual(await getFromHelper("token", "r", { signal }), {
        kind: "identity",
        identityToken: "id",
      });
    }),
  );

  it(
    "that know no login are no error",
    withDirectory(async (directory) => {
      installHelper(directory, "none", 'echo "credentials not found in native keychain"; exit 1');
      assert.equal(await getFromHelper("none", "r", { signal }), undefined);
    }),
  );

  for (const [why, name, script, message] of [
    ["is missing", "absent", undefined, /"docker-credential-absent": it is not in PATH/],
    ["fails", "bad", "echo no such bus; exit 3", /it ended with 3 and said "no such bus"/],
    ["answers nonsense", "bad", "echo secret-in-nonsense", /not the JSON that was expected$/],
    ["answers too much", "bad", "head -c 2000000 /dev/zero", /more than 1048576 bytes|ended with/],
    ["is killed", "bad", "kill -9 $$", /ended with SIGKILL/],
    ["has a path for a name", "../../bin/sh", undefined, /expected a plain name/],
  ] as const) {
    it(
      `one that ${why} is told from one without login, and means anonymous with a warning`,
      withDirectory(async (directory, config) => {
        if (script !== undefined) installHelper(directory, name, script);
        await assert.rejects(
          getFromHelper(name, "r.example", { signal }),
          (error: unknown) =>
            error instanceof CredentialHelperError &&
            message.test(error.message) &&
            !error.message.includes("secret-in"),
        );
        const events: RegistryEvent[] = [];
        const find = dockerCredentials(config({ credsStore: name }), (event) => events.push(event));
        assert.equal(await find("r.example", { signal }), undefined);
        assert.equal(await find("r.example", { signal }), undefined);
        assert.equal(events.length, 1);
        assert.match(JSON.stringify(events), /going on without logging in to/);
      }),
    );
  }

  it(
    "one that hangs ends with the caller's signal",
    withDirectory(async (directory) => {
      installHelper(directory, "slow", "exec sleep 60");
      const abort = new AbortController();
      setTimeout(() => abort.abort(new Error("enough")), 100);
      await assert.rejects(getFromHelper("slow", "r", { signal: abort.signal }), /enough/);
    }),
  );

  it(
    "a broken config.json means anonymous, with a warning",
    withDirectory(async (_, config) => {
      const events: RegistryEvent[] = [];
      const find = dockerCredentials(config("{"), (event) => events.push(event));
      assert.equal(await find("r.example", { signal }), undefined);
      assert.match(JSON.stringify(events), /not JSON/);
    }),
  );
});

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
