/** TLS: authorities, names, and registries named insecure. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePlatform, parseReference } from "../../oci/index.ts";
import { ConnectionError } from "../../registry-client/index.ts";
import { makeCertificates, type TestCertificates } from "./certificates.ts";
import { openTestClient, signal } from "./client.ts";
import { imageAnswer, imageOf } from "./images.ts";
import { listeningAddress, type SeenRequest, serve, startServer } from "./server.ts";

const image = imageOf();
const platform = parsePlatform("linux/amd64");

async function startTls(certificates: TestCertificates, wantsCertificate = false) {
  const requests: SeenRequest[] = [];
  const server = createServer(
    {
      cert: certificates.certificate,
      key: certificates.key,
      ca: certificates.ca,
      requestCert: wantsCertificate,
      rejectUnauthorized: wantsCertificate,
    },
    (incoming, response) => {
      serve((request) => imageAnswer(request, image), requests, incoming, response).catch(() =>
        response.destroy(),
      );
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: listeningAddress(server.address()).port,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

describe("TLS", () => {
  it("a loopback registry that speaks TLS is found behind its first, plain try", async () => {
    using certificates = makeCertificates(["DNS:localhost", "IP:127.0.0.1"]);
    await using server = await startTls(certificates);
    await using test = openTestClient({ ca: [certificates.ca] });
    const reference = parseReference(`localhost:${server.port}/a/b:1`);
    const { descriptor } = await test.client.resolve(reference, { platform, signal });
    assert.equal(descriptor.digest, image.manifest.descriptor.digest);
  });

  for (const [why, names, options] of [
    ["an authority that nobody trusts", ["DNS:localhost"], {}],
    ["another name", ["DNS:other.example"], { trusted: true }],
  ] as const) {
    it(`a certificate of ${why} is refused, with a hint`, async () => {
      using certificates = makeCertificates(names);
      await using server = await startTls(certificates);
      await using test = openTestClient("trusted" in options ? { ca: [certificates.ca] } : {});
      const mirrorLike = parseReference(`localhost:${server.port}/a/b:1`);
      await assert.rejects(
        test.client.resolve(mirrorLike, { platform, signal }),
        (error: unknown) => {
          assert.ok(error instanceof ConnectionError, String(error));
          assert.match(error.hint ?? "", /authority|name and port/);
          return true;
        },
      );
      assert.equal(server.requests.length, 0);
    });
  }

  it("authorities and a certificate of our own are found where docker has them, per registry", async () => {
    using certificates = makeCertificates(["DNS:localhost", "IP:127.0.0.1"]);
    await using server = await startTls(certificates, true);
    const directory = mkdtempSync(join(tmpdir(), "manyworlds-certs-"));
    try {
      const host = `localhost:${server.port}`;
      mkdirSync(join(directory, host));
      const put = (name: string, text: string) => writeFileSync(join(directory, host, name), text);
      put("ca.crt", certificates.ca);
      put("client.cert", certificates.certificate);
      put("client.key", certificates.key);
      await using test = openTestClient({ certificateDirectories: ["/nowhere", directory] });
      await test.client.resolve(parseReference(`${host}/a/b:1`), { platform, signal });
      // The same server under another name has no directory, and so no trust.
      const other = parseReference(`127.0.0.1:${server.port}/a/b:1`);
      await assert.rejects(test.client.resolve(other, { platform, signal }), ConnectionError);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it("a registry named insecure may show any certificate", async () => {
    using certificates = makeCertificates(["DNS:other.example"]);
    await using server = await startTls(certificates);
    await using test = openTestClient({ insecure: [`127.0.0.1:${server.port}`] });
    await test.client.resolve(parseReference(`127.0.0.1:${server.port}/a/b:1`), {
      platform,
      signal,
    });
    assert.ok(server.requests.length > 0);
  });

  it("a registry named insecure may speak plain HTTP", async () => {
    await using server = await startServer((request) => imageAnswer(request, image));
    await using test = openTestClient({ insecure: [server.domain] });
    await test.client.resolve(parseReference(`${server.domain}/a/b:1`), { platform, signal });
  });

  it("nobody there is said at once, without retries", async () => {
    await using test = openTestClient();
    await assert.rejects(
      test.client.resolve(parseReference("127.0.0.1:1/a/b:1"), { platform, signal }),
      (error: unknown) => error instanceof ConnectionError && error.problem === "refused",
    );
    assert.equal(test.events.length, 0);
  });
});
