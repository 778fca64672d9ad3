/** A registry's side of uploads, in memory. */
import { mediaTypes } from "../../oci/index.ts";
import { sha256 } from "./images.ts";
import type { Answer, Handler, SeenRequest } from "./server.ts";

/** A registry's side of uploads, as distribution-spec 1.1 has it; tests bend it. */
export class UploadRegistry {
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, Buffer>();
  /** Bytes of the upload in progress. */
  received = Buffer.alloc(0);
  uploads = 0;
  /** Looks at each request first; what it returns is the answer. */
  bend: (request: SeenRequest, registry: UploadRegistry) => Answer | "break" | undefined = () =>
    undefined;
  locationPrefix = "";
  headers: Readonly<Record<string, string>> = {};

  readonly handler: Handler = (request, response) => {
    const bent = this.bend(request, this);
    if (bent === "break") {
      response.destroy();
      return undefined;
    }
    return bent ?? this.answer(request);
  };

  answer({ method, path, query, headers, body }: SeenRequest): Answer {
    const name = decodeURIComponent(path.split("/").at(-1) ?? "");
    if (path === "/v2/") return {};
    if (path.includes("/manifests/")) {
      if (method !== "PUT") return this.#stored(this.manifests.get(name), mediaTypes.ociIndex);
      this.manifests.set(name, body);
      this.manifests.set(sha256(body), body);
      return { status: 201, headers: { "docker-content-digest": sha256(body), ...this.headers } };
    }
    if (path.endsWith("/blobs/uploads/") && method === "POST") {
      const mount = query.get("mount") ?? "";
      if (this.blobs.has(`${query.get("from")}@${mount}`)) return { status: 201 };
      this.received = Buffer.alloc(0);
      return { status: 202, headers: this.#location(`${++this.uploads}`) };
    }
    if (path.includes("/blobs/uploads/"))
      return this.#upload(method, `${this.uploads}`, query, headers, body);
    return this.#stored(this.blobs.get(name), "application/octet-stream");
  }

  #upload(
    method: string,
    id: string,
    query: URLSearchParams,
    headers: SeenRequest["headers"],
    body: Buffer,
  ): Answer {
    if (query.get("_state") !== `s${id}`) return { status: 404 };
    if (method === "GET") return { status: 204, headers: this.#location(id) };
    if (method === "PATCH") {
      const start = /^(\d+)-(\d+)$/.exec(headers["content-range"] ?? "");
      if (start === null || Number(start[1]) !== this.received.length) return { status: 416 };
      this.received = Buffer.concat([this.received, body]);
      return { status: 202, headers: this.#location(id) };
    }
    const whole = Buffer.concat([this.received, body]);
    const digest = query.get("digest") ?? "";
    if (sha256(whole) !== digest) {
      return {
        status: 400,
        body: '{"errors":[{"code":"DIGEST_INVALID","message":"wrong digest"}]}',
      };
    }
    this.blobs.set(digest, whole);
    return { status: 201 };
  }

  #location(id: string): Record<string, string> {
    const end = Math.max(0, this.received.length - 1);
    const location = `${this.locationPrefix}/v2/a/b/blobs/uploads/u?_state=s${id}`;
    return { location, range: `0-${end}`, "docker-upload-uuid": "u", ...this.headers };
  }

  #stored(bytes: Buffer | undefined, type: string): Answer {
    if (bytes === undefined) return { status: 404 };
    return {
      body: bytes,
      headers: { "content-type": type, "docker-content-digest": sha256(bytes) },
    };
  }
}
