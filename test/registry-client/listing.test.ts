import assert from "node:assert/strict";
import { mediaTypes, parseReference } from "../../oci/index.ts";
import { RegistryError } from "../../registry-client/index.ts";
import { openTestClient, signal } from "./client.ts";
import { imageOf, notFound } from "./images.ts";
import { type Answer, type Handler, startServer } from "./server.ts";

async function tags(handler: Handler, pageSize?: number): Promise<readonly string[]> {
  await using server = await startServer((request, response) =>
    request.path === "/v2/" ? {} : handler(request, response),
  );
  await using test = openTestClient();
  const reference = parseReference(`${server.domain}/a/b`);
  const found: string[] = [];
  const options = { signal, ...(pageSize === undefined ? {} : { pageSize }) };
  for await (const tag of test.client.listTags(reference, options)) found.push(tag);
  return found;
}

const all = ["a", "b", "c", "d", "e"];

describe("listTags()", () => {
  it("follows pages", async () => {
    const handler: Handler = ({ query, path }) => {
      const size = Number(query.get("n") ?? 2);
      const start = all.indexOf(query.get("last") ?? "") + 1;
      const page = all.slice(start, start + size);
      const next = `<${path}?last=${page.at(-1)}&n=${size}>; rel="next"`;
      const isLast = start + size >= all.length;
      return {
        headers: isLast ? {} : { link: next },
        body: JSON.stringify({ name: "a/b", tags: page }),
      };
    };
    assert.deepEqual(await tags(handler, 2), all);
    assert.deepEqual(await tags(handler, 100), all);
  });

  it("a repository without tags has none", async () => {
    assert.deepEqual(await tags(() => ({ body: '{"name":"a/b","tags":null}' })), []);
  });

  const page = (link: string): Answer => ({ headers: { link }, body: '{"tags":["x"]}' });
  for (const [why, handler, message] of [
    ["a circle", () => page('</v2/a/b/tags/list?n=1>; rel="next"'), /circle/],
    [
      "another host",
      () => page('<http://127.0.0.2:1/v2/a/b/tags/list>; rel="next"'),
      /leads to "127.0.0.2:1"/,
    ],
    ["no such repository", () => notFound, /404/],
    ["HTML", () => ({ body: "<html>" }), /not JSON/],
    ["tags that are numbers", () => ({ body: '{"tags":[1]}' }), /"tags\[0\]" is 1/],
  ] as const satisfies readonly (readonly [string, Handler, RegExp])[]) {
    it(`fails for ${why}`, async () => assert.rejects(tags(handler), message));
  }
});

describe("referrers()", () => {
  const subject = imageOf().manifest.descriptor;
  const entry = (name: string) => ({
    ...imageOf(name).manifest.descriptor,
    artifactType: `application/vnd.example.${name}`,
  });
  const index = (...entries: readonly object[]) =>
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: entries });
  const type = { "content-type": mediaTypes.ociIndex };

  async function referrers(handler: Handler, artifactType?: string) {
    await using server = await startServer((request, response) =>
      request.path === "/v2/" ? {} : handler(request, response),
    );
    await using test = openTestClient();
    const options = { signal, ...(artifactType === undefined ? {} : { artifactType }) };
    const found = await test.client.referrers(
      parseReference(`${server.domain}/a/b`),
      subject.digest,
      options,
    );
    return found.map((each) => each.artifactType?.split(".").at(-1));
  }

  const api: Handler = ({ path, query }) => {
    if (!path.includes("/referrers/")) return notFound;
    if (query.get("page") === "2") return { headers: type, body: index(entry("sbom")) };
    const next = `<${path}?page=2>; rel="next"`;
    return { headers: { ...type, link: next }, body: index(entry("signature")) };
  };

  it("asks the API, page by page", async () => {
    assert.deepEqual(await referrers(api), ["signature", "sbom"]);
  });

  it("filters what a registry does not", async () => {
    assert.deepEqual(await referrers(api, "application/vnd.example.sbom"), ["sbom"]);
  });

  const tag = `/manifests/${subject.digest.replace(":", "-")}`;
  for (const [why, answer] of [
    ["404", notFound],
    ["a page for humans", { headers: { "content-type": "text/html" }, body: "<html>" }],
  ] as const) {
    it(`reads the fallback tag where the API answers ${why}`, async () => {
      const handler: Handler = ({ path }) =>
        path.endsWith(tag) ? { headers: type, body: index(entry("signature")) } : answer;
      assert.deepEqual(await referrers(handler), ["signature"]);
    });
  }

  it("there are none where there is neither", async () => {
    assert.deepEqual(await referrers(() => notFound), []);
  });

  it("a registry that fails is an error, not an empty list", async () => {
    await assert.rejects(
      referrers(() => ({ status: 403 })),
      RegistryError,
    );
  });
});
