/** Where logins are kept: docker's config.json and credential helpers. */
import assert from "node:assert/strict";
import { chmodSync, readFileSync, statSync, symlinkSync } from "node:fs";
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
import { CredentialHelperError, type RegistryEvent } from "../../registry-client/index.ts";
import { fuzzText } from "../oci/fuzz.ts";
import { signal } from "./client.ts";
import { base64, HUB, installHelper, withDirectory } from "./login-directory.ts";

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
