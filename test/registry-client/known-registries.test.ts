/** The documented flows of public registries, with their host names, through `startInternet()`. */
import assert from "node:assert/strict";
import { parsePlatform, parseReference } from "../../oci/index.ts";
import type { Credentials } from "../../registry-client/index.ts";
import { collect, openTestClient, signal } from "./client.ts";
import { imageAnswer, imageOf, sha256 } from "./images.ts";
import { startInternet } from "./internet.ts";
import type { Answer, Handler, SeenRequest } from "./server.ts";

interface KnownRegistry {
  readonly name: string;
  readonly reference: string;
  /** Host of the API, and the repository there. */
  readonly host: string;
  readonly repository: string;
  readonly challenge: string;
  /** Host and path of the token server; absent: the registry wants Basic. */
  readonly tokenServer?: readonly [host: string, path: string];
  /** Where blobs are redirected to; absent: the registry sends them itself. */
  readonly storage?: string;
  readonly credentials?: Credentials;
  /** docker's name for the server, under which credentials are looked up. */
  readonly server: string;
  /** What must arrive: at the token server, or at the registry for Basic. */
  readonly proof?: string;
  readonly tokenField?: "token" | "access_token";
}

const basic = (username: string, password: string): Credentials => ({
  kind: "basic",
  username,
  password,
});
const basicHeader = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;

const known: readonly KnownRegistry[] = [
  {
    // https://docs.docker.com/docker-hub/ and distribution's token specification
    name: "Docker Hub, anonymous",
    reference: "busybox",
    host: "registry-1.docker.io",
    repository: "library/busybox",
    challenge:
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull"',
    tokenServer: ["auth.docker.io", "/token"],
    storage: "production.cloudflare.docker.com",
    server: "https://index.docker.io/v1/",
  },
  {
    name: "Docker Hub, with a personal access token",
    reference: "me/private:2",
    host: "registry-1.docker.io",
    repository: "me/private",
    challenge:
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:me/private:pull"',
    tokenServer: ["auth.docker.io", "/token"],
    storage: "production.cloudflare.docker.com",
    credentials: basic("me", "dckr_pat_x"),
    server: "https://index.docker.io/v1/",
    proof: basicHeader("me:dckr_pat_x"),
  },
  {
    // https://docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry
    name: "ghcr.io",
    reference: "ghcr.io/owner/name:v1",
    host: "ghcr.io",
    repository: "owner/name",
    challenge:
      'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:owner/name:pull"',
    tokenServer: ["ghcr.io", "/token"],
    storage: "pkg-containers.githubusercontent.com",
    credentials: basic("me", "ghp_x"),
    server: "ghcr.io",
    proof: basicHeader("me:ghp_x"),
  },
  {
    // https://docs.quay.io/glossary/robot-accounts.html
    name: "quay.io, with a robot account",
    reference: "quay.io/org/app:1",
    host: "quay.io",
    repository: "org/app",
    challenge:
      'Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:org/app:pull"',
    tokenServer: ["quay.io", "/v2/auth"],
    storage: "cdn01.quay.io",
    credentials: basic("org+robot", "secret"),
    server: "quay.io",
    proof: basicHeader("org+robot:secret"),
  },
  {
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
    name: "Amazon ECR",
    reference: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1",
    host: "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    repository: "app",
    challenge:
      'Basic realm="https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"',
    storage: "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
    credentials: basic("AWS", "x".repeat(2000)),
    server: "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    proof: basicHeader(`AWS:${"x".repeat(2000)}`),
  },
  {
    // https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html
    name: "Amazon ECR Public",
    reference: "public.ecr.aws/docker/library/busybox",
    host: "public.ecr.aws",
    repository: "docker/library/busybox",
    challenge: 'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"',
    tokenServer: ["public.ecr.aws", "/token/"],
    storage: "d2glxqk2uabbnd.cloudfront.net",
    server: "public.ecr.aws",
  },
  {
    // https://cloud.google.com/artifact-registry/docs/docker/authentication
    name: "Google Artifact Registry",
    reference: "europe-docker.pkg.dev/project/repo/app:1",
    host: "europe-docker.pkg.dev",
    repository: "project/repo/app",
    challenge:
      'Bearer realm="https://europe-docker.pkg.dev/v2/token",service="europe-docker.pkg.dev",scope="repository:project/repo/app:pull"',
    tokenServer: ["europe-docker.pkg.dev", "/v2/token"],
    credentials: basic("oauth2accesstoken", "ya29.x"),
    server: "europe-docker.pkg.dev",
    proof: basicHeader("oauth2accesstoken:ya29.x"),
  },
  {
    // https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md
    name: "Azure Container Registry, with an identity token",
    reference: "name.azurecr.io/app:1",
    host: "name.azurecr.io",
    repository: "app",
    challenge:
      'Bearer realm="https://name.azurecr.io/oauth2/token",service="name.azurecr.io",scope="repository:app:pull"',
    tokenServer: ["name.azurecr.io", "/oauth2/token"],
    storage: "weumanaged1.blob.core.windows.net",
    credentials: { kind: "identity", identityToken: "refresh-me" },
    server: "name.azurecr.io",
    proof: "refresh-me",
    tokenField: "access_token",
  },
];

const TOKEN = "token.for-this_test";

/** All hosts that a registry of this kind has, behaving as documented. */
function hostsOf(registry: KnownRegistry): Readonly<Record<string, Handler>> {
  const image = imageOf(registry.name);
  const { host, repository, tokenServer, storage } = registry;
  const wanted = tokenServer === undefined ? registry.proof : `Bearer ${TOKEN}`;
  const api: Handler = (request) => {
    if (tokenServer?.[0] === host && request.path === tokenServer[1])
      return tokenAnswer(registry, request);
    if (request.headers.authorization !== wanted) {
      return { status: 401, headers: { "www-authenticate": registry.challenge } };
    }
    const isBlob = request.path.includes("/blobs/");
    if (isBlob && storage !== undefined) {
      return {
        status: 307,
        headers: { location: `https://${storage}${request.path}?X-Signature=secret` },
      };
    }
    const path = request.path
      .replace(`/v2/${repository}/`, "/v2/a/b/")
      .replace(/manifests\/\w+$/, "manifests/1");
    return imageAnswer({ ...request, path }, image);
  };
  const bucket: Handler = (request) => {
    // Storage hosts refuse requests that carry a second kind of authorization.
    if (request.headers.authorization !== undefined) return { status: 400 };
    return imageAnswer(request, image);
  };
  const tokens: Handler = (request) => tokenAnswer(registry, request);
  return {
    ...(tokenServer === undefined ? {} : { [tokenServer[0]]: tokens }),
    [host]: api,
    ...(storage === undefined ? {} : { [storage]: bucket }),
  };
}

function tokenAnswer(registry: KnownRegistry, request: SeenRequest): Answer {
  const form = new URLSearchParams(request.body.toString());
  const proof =
    request.method === "POST" ? form.get("refresh_token") : request.headers.authorization;
  if ((proof ?? undefined) !== registry.proof)
    return { status: 401, body: '{"details":"incorrect username or password"}' };
  return { body: JSON.stringify({ [registry.tokenField ?? "token"]: TOKEN, expires_in: 300 }) };
}

describe("public registries, as documented", () => {
  for (const registry of known) {
    it(`pulls from ${registry.name}`, async () => {
      await using internet = await startInternet(hostsOf(registry));
      const asked: string[] = [];
      await using test = openTestClient({
        ca: internet.ca,
        proxies: internet.proxies,
        findCredentials: (server) => {
          asked.push(server);
          return Promise.resolve(registry.credentials);
        },
      });
      const reference = parseReference(registry.reference);
      const platform = parsePlatform("linux/amd64");
      const image = await test.client.resolve(reference, { platform, signal });
      const [layer] = image.manifest.layers;
      assert.ok(layer !== undefined);
      const bytes = await collect(test.client.fetchBlob(reference, layer, { signal }));
      assert.equal(sha256(bytes), layer.digest);
      assert.ok(asked.every((server) => server === registry.server));

      const { requests } = internet;
      const tokenRequests = requests.filter(
        ({ host, path }) => host === registry.tokenServer?.[0] && path === registry.tokenServer[1],
      );
      // One token serves manifest and blob.
      assert.equal(tokenRequests.length, registry.tokenServer === undefined ? 0 : 1);
      for (const { method, query, body } of tokenRequests) {
        const parameters = method === "POST" ? new URLSearchParams(body.toString()) : query;
        assert.ok(registry.challenge.includes(`service="${parameters.get("service")}"`));
        const scopes = parameters.getAll("scope").flatMap((scope) => scope.split(" "));
        assert.ok(scopes.includes(`repository:${registry.repository}:pull`));
      }
      assert.equal(
        requests.some(({ host }) => host === registry.storage),
        registry.storage !== undefined,
      );
    });
  }

  it("says so when Docker Hub's anonymous quota is used up", async () => {
    const hub = known[0];
    assert.ok(hub !== undefined);
    await using internet = await startInternet({
      ...hostsOf(hub),
      "registry-1.docker.io": () => ({
        status: 429,
        body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit."}]}',
      }),
    });
    await using test = openTestClient({ ca: internet.ca, proxies: internet.proxies });
    await assert.rejects(
      test.client.resolve(parseReference("busybox"), { signal }),
      (error: unknown) => {
        assert.ok(error instanceof Error && "hint" in error);
        assert.match(
          error.message,
          /Cannot fetch the manifest of "docker.io\/library\/busybox:latest": "registry-1.docker.io" answered 429 \(TOOMANYREQUESTS: "You have reached/,
        );
        assert.match(String(error.hint), /: manyworlds login, wait/);
        return true;
      },
    );
  });

  it("reaches plain-HTTP registries through a proxy by GET, not CONNECT", async () => {
    const image = imageOf("plain");
    await using internet = await startInternet({
      "plain.example:5000": (request) => imageAnswer(request, image),
    });
    const { proxies, proxied } = internet;
    await using test = openTestClient({
      proxies,
      mirrors: { "r.example": ["http://plain.example:5000"] },
      insecure: ["plain.example:5000"],
    });
    await test.client.resolve(parseReference("r.example/a/b:1"), {
      platform: parsePlatform("linux/amd64"),
      signal,
    });
    assert.ok(
      proxied.some((line) => line.startsWith("GET http://plain.example:5000/v2/a/b/manifests/1")),
    );
    assert.ok(!proxied.some((line) => line.startsWith("CONNECT")));
  });
});
