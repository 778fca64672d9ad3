import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { parseReference } from "../../oci/index.ts";
import {
  type BlobOptions,
  ConnectionError,
  ContentError,
  RegistryError,
} from "../../registry-client/index.ts";
import { collect, eventsOf, eventually, openTestClient, signal } from "./client.ts";
import { blobAnswer, blobOf, patternBytes, sha256 } from "./images.ts";
import { type Answer, type Handler, startServer } from "./server.ts";

const blob = blobOf(patternBytes(300_000));
const large = blobOf(patternBytes(40 * 1024 * 1024));

/** Short enough to wait for; only where silence is the test. */
const SHORT_SILENCE_MS = 500;

async function fetched(
  handler: Handler,
  options: Partial<BlobOptions> = {},
  wanted = blob,
  idleTimeoutMs = 10_000,
) {
  await using server = await startServer(handler);
  await using test = openTestClient({ idleTimeoutMs });
  const reference = parseReference(`${server.domain}/a/b:1`);
  const stream = test.client.fetchBlob(reference, wanted.descriptor, { signal, ...options });
  const bytes = await collect(stream);
  const ranges = server.requests
    .filter(({ path }) => path.includes("/blobs/"))
    .map(({ headers }) => headers.range);
  return {
    bytes,
    ranges,
    retries: eventsOf(test, "retry").length,
    downloads: eventsOf(test, "download"),
  };
}

/** Answers the probe of `/v2/` and hands blobs to `handler`, with a count from 1. */
function blobsOnly(
  handler: (count: number, ...rest: Parameters<Handler>) => ReturnType<Handler>,
): Handler {
  let count = 0;
  return (request, response) =>
    request.path === "/v2/" ? { body: "{}" } : handler(++count, request, response);
}

/** Sends the head and the first bytes of an answer, then `end`s as the test says. */
function partly(answer: Answer, sentBytes: number, end: "break" | "stall"): Handler {
  return (_request, response) => {
    const body = Buffer.from(answer.body ?? "");
    response.writeHead(answer.status ?? 200, {
      "content-length": String(body.length),
      ...answer.headers,
    });
    const sent = body.subarray(0, sentBytes);
    if (sent.length === 0) response.flushHeaders();
    else response.write(sent);
    // Late enough for what was written to be delivered.
    if (end === "break") setTimeout(() => response.destroy(), 100);
    return undefined;
  };
}

describe("fetchBlob()", () => {
  it("returns the bytes and reports them", async () => {
    const { bytes, downloads } = await fetched(
      blobsOnly((_, request) => blobAnswer(request, blob.bytes)),
    );
    assert.equal(sha256(bytes), blob.descriptor.digest);
    assert.equal(downloads.at(-1)?.doneBytes, blob.descriptor.size);
  });

  for (const end of ["break", "stall"] as const) {
    it(`goes on where it was when the registry ${end}s in mid-body`, async () => {
      const { bytes, ranges, retries } = await fetched(
        blobsOnly((count, request, response) => {
          const answer = blobAnswer(request, blob.bytes);
          return count <= 2 ? partly(answer, 100_000, end)(request, response) : answer;
        }),
        {},
        blob,
        end === "stall" ? SHORT_SILENCE_MS : undefined,
      );
      assert.equal(sha256(bytes), blob.descriptor.digest);
      assert.deepEqual(ranges, [undefined, "bytes=100000-299999", "bytes=200000-299999"]);
      assert.equal(retries, 2);
    });
  }

  it("skips what it has when the registry knows no ranges", async () => {
    const { bytes } = await fetched(
      blobsOnly((count, request, response) =>
        count === 1
          ? partly({ body: blob.bytes }, 100_000, "break")(request, response)
          : { body: blob.bytes },
      ),
    );
    assert.equal(sha256(bytes), blob.descriptor.digest);
  });

  it("gives up when the registry breaks off again and again without a byte", async () => {
    let attempts = 0;
    const handler = blobsOnly((count, request, response) => {
      attempts = count;
      return partly({ body: blob.bytes }, 0, "break")(request, response);
    });
    await assert.rejects(fetched(handler), ConnectionError);
    assert.ok(attempts >= 5, `${attempts} attempts`);
  });

  it("goes on from an offset, with the hash of what is there", async () => {
    const offset = 123_457;
    const hasher = createHash("sha256").update(blob.bytes.subarray(0, offset));
    const { bytes, ranges } = await fetched(
      blobsOnly((_, request) => blobAnswer(request, blob.bytes)),
      { offset, hasher },
    );
    assert.deepEqual(bytes, Buffer.from(blob.bytes.subarray(offset)));
    assert.deepEqual(ranges, [`bytes=${offset}-299999`]);
  });

  it("refuses a resumed blob whose beginning was another", async () => {
    const hasher = createHash("sha256").update("something else");
    const handler = blobsOnly((_, request) => blobAnswer(request, blob.bytes));
    await assert.rejects(fetched(handler, { offset: 1000, hasher }), ContentError);
  });

  it("asks nothing when all is there", async () => {
    const hasher = createHash("sha256").update(blob.bytes);
    const { bytes, ranges } = await fetched(() => ({ status: 500 }), { offset: 300_000, hasher });
    assert.deepEqual([bytes.length, ranges], [0, []]);
  });

  const wrong = Buffer.from(blob.bytes);
  wrong[299_999] = (wrong[299_999] ?? 0) ^ 1;
  const chunked =
    (body: Uint8Array): Handler =>
    (_request, response) => {
      response.writeHead(200, { "transfer-encoding": "chunked" });
      response.end(body);
      return undefined;
    };
  for (const [why, handler, message] of [
    ["one wrong bit", () => ({ body: wrong }), /the digest "sha256:/],
    [
      "a byte too few, and the length says so",
      () => ({ body: blob.bytes.subarray(1) }),
      /299999 bytes/,
    ],
    [
      "a byte too many, and the length says so",
      () => ({ body: Buffer.concat([blob.bytes, wrong]) }),
      /600000 bytes/,
    ],
    [
      "an end too soon that is no error",
      chunked(blob.bytes.subarray(0, 1000)),
      /bytes, expected 300000/,
    ],
    [
      "more than the descriptor says",
      chunked(Buffer.concat([blob.bytes, wrong])),
      /at least .* bytes/,
    ],
    [
      "a range that was not asked for",
      (request, response) =>
        request.headers.range === undefined
          ? chunked(blob.bytes.subarray(0, 1000))(request, response)
          : {
              status: 206,
              headers: { "content-range": "bytes 0-299999/300000" },
              body: blob.bytes,
            },
      /the range "bytes 0-299999/,
    ],
  ] as const satisfies readonly (readonly [string, Handler, RegExp])[]) {
    it(`fails for ${why}`, async () => {
      await assert.rejects(
        fetched(blobsOnly((_, request, response) => handler(request, response))),
        (error: unknown) => error instanceof ContentError && message.test(error.message),
      );
    });
  }

  it("never hands out the last bytes of wrong content", async () => {
    await using server = await startServer(blobsOnly(() => ({ body: wrong })));
    await using test = openTestClient();
    const stream = test.client.fetchBlob(parseReference(`${server.domain}/a/b`), blob.descriptor, {
      signal,
    });
    let received = 0;
    await assert.rejects(async () => {
      for await (const chunk of stream) received += chunk.length;
    }, ContentError);
    assert.ok(received < blob.descriptor.size);
  });

  it("tries again after 503 and after 429, as long as Retry-After says", async () => {
    const startMs = performance.now();
    const { bytes, retries } = await fetched(
      blobsOnly((count, request) => {
        if (count === 1) return { status: 503, body: "<html>down</html>" };
        if (count === 2) return { status: 429, headers: { "retry-after": "1" } };
        return blobAnswer(request, blob.bytes);
      }),
    );
    assert.equal(sha256(bytes), blob.descriptor.digest);
    assert.equal(retries, 2);
    assert.ok(performance.now() - startMs >= 1000);
  });

  for (const [status, problem, attempts] of [
    [401, "unauthorized", 1],
    [403, "forbidden", 1],
    [404, "not-found", 1],
    [429, "rate-limited", 5],
    [500, "unavailable", 5],
    [418, "unexpected", 1],
  ] as const) {
    it(`fails with ${status} after ${attempts} attempt(s), saying what the registry said`, async () => {
      let count = 0;
      const body = JSON.stringify({
        errors: [{ code: "SOME_CODE", message: "because\u001b[31m" }],
      });
      const handler = blobsOnly((each) => {
        count = each;
        return { status, body };
      });
      await assert.rejects(fetched(handler), (error: unknown) => {
        assert.ok(error instanceof RegistryError);
        assert.equal(error.failure.problem, problem);
        assert.match(error.message, /SOME_CODE: "because\\u001b\[31m"/);
        return true;
      });
      assert.equal(count, attempts);
    });
  }

  it("stops at once when aborted, with the reason given", async () => {
    await using server = await startServer(
      blobsOnly((_, ...rest) => partly({ body: blob.bytes }, 1000, "stall")(...rest)),
    );
    await using test = openTestClient();
    const abort = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => abort.abort(reason), 50);
    const reference = parseReference(`${server.domain}/a/b`);
    const stream = test.client.fetchBlob(reference, blob.descriptor, { signal: abort.signal });
    await assert.rejects(collect(stream), reason);
  });

  it("does not mistake a slow reader for a dead registry", async () => {
    await using server = await startServer(
      blobsOnly((_, request) => blobAnswer(request, large.bytes)),
    );
    await using test = openTestClient({ idleTimeoutMs: 700 });
    const reader = test.client
      .fetchBlob(parseReference(`${server.domain}/a/b`), large.descriptor, { signal })
      .getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    for (let each = await reader.read(); !each.done; each = await reader.read());
    assert.equal(eventsOf(test, "retry").length, 0);
  });

  it("closes its connection when the reader cancels", async () => {
    let isClosed = false;
    await using server = await startServer(
      blobsOnly((_, request, response) => {
        response.on("close", () => {
          isClosed = true;
        });
        return partly({ body: blob.bytes }, 1000, "stall")(request, response);
      }),
    );
    await using test = openTestClient();
    const stream = test.client.fetchBlob(parseReference(`${server.domain}/a/b`), blob.descriptor, {
      signal,
    });
    const reader = stream.getReader();
    await reader.read();
    await reader.cancel();
    assert.ok(await eventually(() => isClosed));
  });
});

describe("fetchBlob() in several ranges at once", () => {
  const connections = 4;

  it("returns the bytes in order", async () => {
    const { bytes, ranges } = await fetched(
      blobsOnly((_, request) => blobAnswer(request, large.bytes)),
      { connections },
      large,
    );
    assert.equal(sha256(bytes), large.descriptor.digest);
    assert.equal(ranges.length, 10);
  });

  it("has as many under way as it was told, and no more", async () => {
    let running = 0;
    let most = 0;
    await fetched(
      async (request, response) => {
        if (request.path === "/v2/") return {};
        most = Math.max(most, ++running);
        response.on("close", () => running--);
        await new Promise((resolve) => setTimeout(resolve, 20));
        return blobAnswer(request, large.bytes);
      },
      { connections: 3 },
      large,
    );
    assert.equal(most, 3);
  });

  it("is not done from loopback unless told", async () => {
    const { ranges } = await fetched(
      blobsOnly((_, request) => blobAnswer(request, large.bytes)),
      {},
      large,
    );
    assert.deepEqual(ranges, [undefined]);
  });

  it("survives breaks in any of them", async () => {
    const { bytes, retries } = await fetched(
      blobsOnly((count, request, response) => {
        const answer = blobAnswer(request, large.bytes);
        return count % 3 === 0 ? partly(answer, 1_000_000, "break")(request, response) : answer;
      }),
      { connections },
      large,
    );
    assert.equal(sha256(bytes), large.descriptor.digest);
    assert.ok(retries >= 3);
  });

  it("uses one connection where the registry knows no ranges", async () => {
    const { bytes, ranges } = await fetched(
      blobsOnly(() => ({ body: large.bytes })),
      { connections },
      large,
    );
    assert.equal(sha256(bytes), large.descriptor.digest);
    assert.equal(ranges.length, 2);
  });

  it("fails when one of them is missing for good", async () => {
    const handler = blobsOnly((count, request) =>
      count === 4 ? { status: 404 } : blobAnswer(request, large.bytes),
    );
    await assert.rejects(fetched(handler, { connections }, large), RegistryError);
  });
});

describe("fetchRanges()", () => {
  it("fills the holes it is told, and writes each byte where it belongs", async () => {
    await using server = await startServer(
      blobsOnly((count, request, response) => {
        const answer = blobAnswer(request, large.bytes);
        return count === 2 ? partly(answer, 50_000, "break")(request, response) : answer;
      }),
    );
    await using test = openTestClient();
    const file = new Uint8Array(large.descriptor.size);
    const ranges = [
      { start: 5, end: 1_000_000 },
      { start: 20_000_000, end: large.descriptor.size },
    ];
    await test.client.fetchRanges(
      parseReference(`${server.domain}/a/b`),
      large.descriptor,
      (position, bytes) => file.set(bytes, position),
      { ranges, signal },
    );
    for (const { start, end } of ranges) {
      assert.equal(Buffer.compare(file.subarray(start, end), large.bytes.subarray(start, end)), 0);
    }
    assert.ok(file.subarray(1_000_000, 20_000_000).every((byte) => byte === 0));
  });

  it("refuses a range beyond the blob", async () => {
    await using test = openTestClient();
    const ranges = [{ start: 0, end: blob.descriptor.size + 1 }];
    const reference = parseReference("127.0.0.1:1/a/b");
    await assert.rejects(
      test.client.fetchRanges(reference, blob.descriptor, () => {}, { ranges, signal }),
      RangeError,
    );
  });
});
