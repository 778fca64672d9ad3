import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { gzipSync } from "node:zlib";
import {
  buildImage,
  imageHistory,
  imageSizeBytes,
  inspectImage,
  layerFromArchive,
  layerFromDirectory,
  loadImages,
  mountOverlay,
  packTree,
  prune,
  removeImage,
  type Store,
  saveImages,
  storeUsage,
  unpackFlat,
} from "../../image/index.ts";
import { parseReference } from "../../oci/index.ts";
import {
  describeTree,
  type Entry,
  makeLayer,
  makeTar,
  makeTemporary,
  putImage,
  sh,
  sha256,
  testStore,
} from "./fixtures.ts";

const file = (path: string, content: string, rest: Partial<Entry> = {}): Entry => ({
  type: "file",
  path,
  content,
  ...rest,
});

function fromFile(path: string): ReadableStream<Uint8Array> {
  return Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>;
}

function hasCommand(name: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((dir) => existsSync(join(dir, name)));
}

/** Skips a test, and says why in its name. */
function needs(context: Mocha.Context, command: string): void {
  if (hasCommand(command)) return;
  if (context.test) context.test.title += ` (skipped: ${command} is not installed)`;
  context.skip();
}

describe("image archives and operations", () => {
  let tmp: ReturnType<typeof makeTemporary>;
  let store: Store;
  beforeEach(() => {
    tmp = makeTemporary();
    store = testStore(tmp.path);
  });
  afterEach(() => {
    store[Symbol.dispose]();
    tmp[Symbol.dispose]();
  });

  const base = makeLayer(makeTar([file("a", "A"), file("b", "B")]));
  const top = makeLayer(makeTar([file("a", "AA")]), "none");
  const save = (queries: string[], path: string) =>
    pipeline(Readable.fromWeb(saveImages(store, queries) as never), createWriteStream(path));

  async function sample(...names: string[]) {
    const image = await putImage(store, [base, top]);
    for (const name of names) store.images.tag(image, parseReference(name));
    return store.images.get(image.id);
  }

  async function unpackImage(from: Store, query: string) {
    const { record } = from.images.get(query);
    await from.snapshots.unpack(
      record.layers.map((descriptor, i) => ({
        descriptor,
        diffId: record.diffIds[i] ?? assert.fail(),
      })),
    );
    return record.chain;
  }

  it("save and load keep digests, names and content", async () => {
    const image = await sample("busybox:1", "example.com/x/y:2");
    const archive = join(tmp.path, "image.tar");
    await save(["busybox:1", "example.com/x/y:2"], archive);
    using other = testStore(join(tmp.path, "other"));
    const [loaded] = await loadImages(other, fromFile(archive));
    assert.equal(loaded?.image.id, image.id);
    assert.equal(loaded?.image.record.manifest.digest, image.record.manifest.digest);
    assert.deepEqual(loaded?.image.tags, ["busybox:1", "example.com/x/y:2"]);
    const chain = await unpackImage(other, "busybox:1");
    assert.equal(sh("cat a", other.snapshots.layerPath(chain[1] ?? assert.fail())), "AA");
    assert.deepEqual(readdirSync(other.layout.tmp), []);
  });

  it("skopeo reads what save writes, as docker-archive and as oci-archive", async function () {
    needs(this, "skopeo");
    const image = await sample("busybox:1");
    const archive = join(tmp.path, "image.tar");
    await save(["busybox:1"], archive);
    for (const [kind, digest] of [
      ["docker-archive", image.record.diffIds],
      ["oci-archive", image.record.layers.map((layer) => layer.digest)],
    ] as const) {
      const raw = execFileSync("skopeo", ["inspect", "--config", `${kind}:${archive}`], {
        encoding: "utf8",
      });
      assert.deepEqual(JSON.parse(raw).rootfs.diff_ids, image.record.diffIds);
      const target = join(tmp.path, kind);
      execFileSync("skopeo", ["copy", "-q", `${kind}:${archive}`, `oci:${target}:x`]);
      assert.ok(digest.length === 2 && existsSync(join(target, "index.json")));
    }
  }).timeout(60_000);

  for (const [format, source] of [
    ["docker-archive", "docker-archive:{}:busybox:9"],
    ["oci-archive", "oci-archive:{}:docker.io/library/busybox:9"],
  ] as const)
    it(`load reads what skopeo writes as ${format}`, async function () {
      needs(this, "skopeo");
      const image = await sample("busybox:1");
      const archive = join(tmp.path, "own.tar");
      await save(["busybox:1"], archive);
      const path = join(tmp.path, "theirs.tar");
      execFileSync("skopeo", ["copy", "-q", `oci-archive:${archive}`, source.replace("{}", path)]);
      using other = testStore(join(tmp.path, "other"));
      const [loaded] = await loadImages(other, fromFile(path));
      assert.deepEqual(loaded?.image.tags, ["busybox:9"]);
      assert.deepEqual(loaded?.image.record.diffIds, image.record.diffIds);
      const chain = await unpackImage(other, "busybox:9");
      assert.equal(sh("cat b", other.snapshots.layerPath(chain[0] ?? assert.fail())), "B");
    }).timeout(60_000);

  it("load reads the old docker save with symlinked layers, compressed or not", async () => {
    const config = Buffer.from(
      JSON.stringify({
        architecture: "amd64",
        os: "linux",
        rootfs: { type: "layers", diff_ids: [base.diffId, base.diffId] },
      }),
    );
    const name = `${sha256(config).slice(7)}.json`;
    const manifest = [
      { Config: name, RepoTags: ["old:1"], Layers: ["one/layer.tar", "two/layer.tar"] },
    ];
    const tar = makeTar([
      file("one/layer.tar", base.tar as never),
      { type: "symlink", path: "two/layer.tar", linkPath: "../one/layer.tar" },
      file(name, config as never),
      file("manifest.json", JSON.stringify(manifest)),
      file("repositories", "{}"),
    ]);
    for (const bytes of [tar, gzipSync(tar)]) {
      const [loaded] = await loadImages(store, new Blob([bytes]).stream());
      assert.deepEqual(loaded?.image.tags, ["old:1"]);
      assert.equal(loaded?.image.id, sha256(config));
      assert.equal(loaded?.image.record.layers.length, 2);
    }
  });

  const bad: readonly (readonly [string, () => Uint8Array, RegExp])[] = [
    ["an empty stream", () => new Uint8Array(0), /it is empty/],
    [
      "a tar without images",
      () => makeTar([file("x", "y")]),
      /neither "manifest.json" nor "index.json"/,
    ],
    ["text", () => Buffer.from("hello ".repeat(200)), /checksum/],
    [
      "a missing layer",
      () =>
        makeTar([
          file(
            "c.json",
            JSON.stringify({
              architecture: "a",
              os: "b",
              rootfs: { type: "layers", diff_ids: [base.diffId] },
            }),
          ),
          file("manifest.json", JSON.stringify([{ Config: "c.json", Layers: ["l"] }])),
        ]),
      /lacks the file "l"/,
    ],
    [
      "a layer that is not its diff ID",
      () =>
        makeTar([
          file("l", top.tar as never),
          file(
            "c.json",
            JSON.stringify({
              architecture: "a",
              os: "b",
              rootfs: { type: "layers", diff_ids: [base.diffId] },
            }),
          ),
          file("manifest.json", JSON.stringify([{ Config: "c.json", Layers: ["l"] }])),
        ]),
      /diff ID .* its config says/,
    ],
    [
      "a blob under another's name",
      () =>
        makeTar([
          file(`blobs/sha256/${base.descriptor.digest.slice(7)}`, "{}"),
          file(
            "index.json",
            JSON.stringify({
              schemaVersion: 2,
              manifests: [
                {
                  mediaType: "application/vnd.oci.image.manifest.v1+json",
                  digest: base.descriptor.digest,
                  size: 2,
                },
              ],
            }),
          ),
        ]),
      /Cannot read|digest/,
    ],
    [
      "a truncated archive",
      () => makeTar([file("x", "y".repeat(2000))]).subarray(0, 1200),
      /truncated/,
    ],
  ];
  for (const [why, make, pattern] of bad)
    it(`load refuses ${why} and leaves nothing`, async () => {
      await assert.rejects(loadImages(store, new Blob([make()]).stream()), pattern);
      assert.deepEqual(store.images.list(), []);
      assert.deepEqual(readdirSync(store.layout.tmp), []);
    });

  it("buildImage() makes an image of a directory that podman can load", async function () {
    needs(this, "podman");
    const tree = join(tmp.path, "tree");
    mkdirSync(join(tree, "bin"), { recursive: true });
    sh("cp /bin/busybox bin/busybox; ln bin/busybox bin/sh", tree);
    const layer = await layerFromDirectory(store, tree, {
      owner: { uid: 0, gid: 0 },
      mtimeSeconds: 0,
    });
    const again = await layerFromDirectory(store, tree, {
      owner: { uid: 0, gid: 0 },
      mtimeSeconds: 0,
    });
    assert.deepEqual(again, layer);
    const references = [parseReference("tiny:1")];
    const image = await buildImage(store, {
      layers: [layer],
      config: { Cmd: ["/bin/sh"] },
      references,
    });
    const archive = join(tmp.path, "tiny.tar");
    await save(["tiny:1"], archive);
    const storage = [
      "--root",
      join(tmp.path, "podman"),
      "--runroot",
      join(tmp.path, "podman-run"),
      "--storage-driver",
      "vfs",
    ];
    execFileSync("podman", [...storage, "load", "-q", "-i", archive], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const id = execFileSync("podman", [...storage, "image", "inspect", "-f", "{{.Id}}", "tiny:1"], {
      encoding: "utf8",
    }).trim();
    assert.equal(`sha256:${id}`, image.id);
  }).timeout(120_000);

  it("the store is an OCI image layout that skopeo reads", async function () {
    needs(this, "skopeo");
    const lease = await store.lease();
    const image = await sample("busybox:1", "other:2");
    lease[Symbol.dispose]();
    for (const name of ["docker.io/library/busybox:1", "docker.io/library/other:2"]) {
      const args = ["inspect", "--raw", `oci:${store.root}:${name}`];
      const raw = execFileSync("skopeo", args);
      assert.equal(sha256(raw), image.record.manifest.digest);
    }
    await removeImage(store, "other:2");
    const index = JSON.parse(readFileSync(join(store.root, "index.json"), "utf8"));
    assert.equal(index.manifests.length, 1);
  });

  it("import stores a root file system archive as an image", async () => {
    const layer = await layerFromArchive(store, new Blob([gzipSync(base.tar)]).stream());
    assert.equal(layer.diffId, base.diffId);
    const image = await buildImage(store, { layers: [layer] });
    assert.deepEqual(image.record.diffIds, [base.diffId]);
    await assert.rejects(
      layerFromArchive(store, new Blob(["no tar ".repeat(200)]).stream()),
      /checksum/,
    );
    assert.deepEqual(readdirSync(store.layout.tmp), []);
  });

  it("packTree() exports a container, and its changes, as they are", async () => {
    const low = makeLayer(
      makeTar([
        { type: "directory", path: "d" },
        file("d/gone", "g"),
        { type: "directory", path: "o" },
        file("o/old", "o"),
        file("keep", "k"),
        file("tool", "t", {
          mode: 0o4755,
          xattrs: new Map([["user.bin" as never, Uint8Array.of(0, 255, 128)]]),
        }),
      ]),
    );
    const image = await putImage(store, [low]);
    await unpackImage(store, image.id);
    const snapshot = store.snapshots.prepare("c", image.record.chain);
    mountOverlay(snapshot.mount);
    let exported: Buffer;
    let changes: Buffer;
    try {
      sh(
        "rm d/gone; rm -r o; mkdir o; echo n > o/new; mkfifo f; ln o/new o/link; ln -s x s; echo more >> keep; truncate -s 1M hole",
        snapshot.merged,
      );
      exported = Buffer.concat([...packTree(snapshot.merged)]);
      changes = Buffer.concat([...packTree(snapshot.upper, { overlay: true })]);
      const out = join(tmp.path, "out");
      mkdirSync(out);
      writeFileSync(join(tmp.path, "export.tar"), exported);
      execFileSync("tar", [
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
        join(tmp.path, "export.tar"),
        "-C",
        out,
      ]);
      assert.deepEqual(describeTree(out), describeTree(snapshot.merged));
    } finally {
      execFileSync("umount", [snapshot.merged]);
    }
    // The changes as a second layer give the same tree again.
    const second = makeLayer(changes);
    const committed = await putImage(store, [low, second]);
    await unpackImage(store, committed.id);
    const again = store.snapshots.prepare("c2", committed.record.chain);
    mountOverlay(again.mount);
    try {
      const listing = "find . -printf '%P %y %m %n %s %l\\n' | sort; cat keep o/new";
      mountOverlay(snapshot.mount);
      assert.equal(sh(listing, again.merged), sh(listing, snapshot.merged));
    } finally {
      execFileSync("umount", [again.merged]);
      execFileSync("umount", [snapshot.merged]);
    }
  });

  it("unpackFlat() gives the tree that umoci gives", async function () {
    needs(this, "umoci");
    needs(this, "skopeo");
    const trees = ["one", "two"].map((name) => join(tmp.path, name));
    for (const tree of trees) mkdirSync(tree);
    sh(
      `mkdir -p usr/bin usr/lib etc var/local opaque/deep gone; cp /bin/busybox usr/bin/; ln usr/bin/busybox usr/bin/sh
       ln -s usr/bin bin; setcap cap_net_raw=ep usr/bin/busybox; mknod etc/null c 1 3; mkfifo etc/fifo
       chown 1000:2000 etc/fifo; chown 0:50 var/local; chmod 2775 var/local; chmod 4711 usr/bin/busybox
       echo old > etc/conf; echo x > opaque/deep/x; echo g > gone/g; echo s > etc/stale
       touch -d '2011-11-11 11:11:11.5' etc/conf usr/lib; setfattr -n user.k -v 0x00ff etc/conf`,
      trees[0] ?? "",
    );
    sh(
      `mkdir -p etc opaque var; echo new > etc/conf; touch etc/.wh.stale .wh.gone opaque/.wh..wh..opq
       echo n > opaque/n; chmod 700 opaque; ln -s ../etc/conf var/conf; truncate -s 3M var/hole`,
      trees[1] ?? "",
    );
    const args = ["--format=posix", "--xattrs", "--xattrs-include=*", "-cf", "-", "."];
    const layers = trees.map((cwd) =>
      makeLayer(execFileSync("tar", args, { cwd, maxBuffer: 1 << 28 })),
    );
    const image = await putImage(store, layers);
    store.images.tag(image, parseReference("x:1"));
    store.writeIndex();
    const copy = join(tmp.path, "copy");
    execFileSync("skopeo", [
      "copy",
      "-q",
      `oci:${store.root}:docker.io/library/x:1`,
      `oci:${copy}:x`,
    ]);
    const theirs = join(tmp.path, "theirs");
    execFileSync("umoci", ["--log", "error", "unpack", "--image", `${copy}:x`, theirs]);
    const ours = join(tmp.path, "ours");
    mkdirSync(ours);
    await unpackFlat(store, image.record, ours);
    // umoci does not restore the fraction of a second everywhere.
    const facts = (tree: string) =>
      describeTree(tree).map((line) => line.replace(/(\|\d{9,10})\.\d{10}\|/, "$1|"));
    assert.deepEqual(facts(ours), facts(join(theirs, "rootfs")));
  });

  it("df adds up to what du says", async () => {
    await sample("busybox:1");
    const chain = await unpackImage(store, "busybox:1");
    const snapshot = store.snapshots.prepare("c", chain);
    sh(
      "head -c 300000 /dev/urandom > upper/x; ln upper/x upper/y; mkdir upper/d",
      snapshot.directory,
    );
    const usage = storeUsage(store);
    const du = Number(sh("du -s -x --block-size=1 .", store.root).split("\t")[0]);
    assert.equal(usage.total, du);
    const { blobs, layers, containers, unfinished, records } = usage;
    assert.equal(blobs + layers + containers + unfinished + records, du);
    assert.ok(
      (usage.containersById["c"] ?? 0) >= 300_000 && (usage.containersById["c"] ?? 0) < 350_000,
    );
    assert.equal(usage.images[0]?.containers, 1);
  });

  it("removing a name keeps the image until its last, and its layers while a container stands on it", async () => {
    await sample("one:1", "two:2");
    const chain = await unpackImage(store, "one:1");
    assert.deepEqual((await removeImage(store, "one:1")).untagged, ["one:1"]);
    assert.ok(store.images.find("two:2"));
    store.snapshots.prepare("c", chain);
    await assert.rejects(removeImage(store, "two:2"), { name: "InUseError" });
    const forced = await removeImage(store, "two:2", { force: true });
    assert.ok(forced.reclaimedBytes > 0);
    assert.deepEqual(store.images.list(), []);
    assert.equal(store.snapshots.layers().length, 2, "layers of a container stay");
    store.snapshots.remove("c");
    await prune(store);
    assert.equal(store.snapshots.layers().length, 0);
    assert.deepEqual([...store.blobs.list()], []);
  });

  it("an image with several names is removed by its ID only with force", async () => {
    const image = await sample("one:1", "two:2");
    const short = image.id.slice(7, 19);
    await assert.rejects(removeImage(store, short), /has 2 names/);
    assert.deepEqual((await removeImage(store, short, { force: true })).untagged, [
      "one:1",
      "two:2",
    ]);
    await assert.rejects(removeImage(store, short), { name: "ImageNotFoundError" });
  });

  it("prune deletes only what nothing refers to", async () => {
    const kept = await sample("kept:1");
    const dangling = await putImage(store, [base], { author: "nobody" });
    const lonely = makeLayer(makeTar([file("lonely", "l")]));
    const put = await putImage(store, [lonely], { author: "x" });
    store.images.tag(put, parseReference("lonely:1"));
    await removeImage(store, "lonely:1");
    const result = await prune(store);
    assert.ok(result.deleted.includes(dangling.id));
    assert.ok(!store.blobs.has(lonely.descriptor.digest));
    assert.ok(store.blobs.has(base.descriptor.digest), "shared with an image that is kept");
    assert.deepEqual(
      store.images.list().map((image) => image.id),
      [kept.id],
    );
    await unpackImage(store, "kept:1");
    await prune(store, { all: true });
    assert.deepEqual(store.images.list(), []);
    assert.deepEqual([...store.blobs.list()], []);
  });

  it("images are found by name, digest, ID and the start of an ID", async () => {
    const image = await sample("busybox", "localhost:5000/x:y");
    const byDigest = `busybox@${image.record.manifest.digest}`;
    store.images.tag(image, parseReference(byDigest));
    for (const query of [
      "busybox",
      "docker.io/library/busybox:latest",
      "localhost:5000/x:y",
      byDigest,
      image.id,
      image.id.slice(7),
      image.id.slice(7, 12),
      image.record.manifest.digest,
    ])
      assert.equal(store.images.find(query)?.id, image.id, query);
    for (const query of ["busybox:2", "x:y", "Not A Name", "0000000", `busybox@${image.id}`])
      assert.equal(store.images.find(query), undefined, query);
    assert.deepEqual(store.images.get("busybox").digests, [byDigest]);
    assert.equal(
      store.images.resolve(parseReference("busybox"))?.manifest.digest,
      image.record.manifest.digest,
    );
  });

  it("inspect and history speak docker's language", async () => {
    const history = [
      { created_by: "base" },
      { created_by: "ENV X", empty_layer: true },
      { created_by: "top" },
    ];
    const image = await putImage(store, [base, top], { history });
    const entries = imageHistory(store, image);
    assert.deepEqual(
      entries.map((entry) => entry.created_by),
      ["top", "ENV X", "base"],
    );
    assert.deepEqual(
      entries.map((entry) => entry.sizeBytes > 0),
      [true, false, true],
    );
    const object = inspectImage(store, image);
    assert.equal(object["Id"], image.id);
    assert.deepEqual(object["RootFS"], { Type: "layers", Layers: [base.diffId, top.diffId] });
    assert.equal(imageSizeBytes(store, image), base.descriptor.size + top.descriptor.size);
  });
});
