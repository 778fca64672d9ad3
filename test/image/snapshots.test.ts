import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { mountOverlay, type Store } from "../../image/index.ts";
import {
  describeTree,
  type Entry,
  makeLayer,
  makeTar,
  makeTemporary,
  putImage,
  readText,
  sh,
  type TestLayer,
  testStore,
} from "./fixtures.ts";

const dir = (path: string, rest: Partial<Entry> = {}): Entry => ({
  type: "directory",
  path,
  ...rest,
});
const file = (path: string, content: string, rest: Partial<Entry> = {}): Entry => ({
  type: "file",
  path,
  content,
  ...rest,
});
const layer = (...entries: Entry[]) => makeLayer(makeTar(entries));

describe("image snapshots", () => {
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

  async function unpack(layers: readonly TestLayer[]) {
    const image = await putImage(store, layers);
    const sources = layers.map(({ descriptor, diffId }) => ({ descriptor, diffId }));
    await store.snapshots.unpack(sources);
    return image;
  }

  /** Mounts, looks, unmounts. */
  async function withMounted<T>(
    layers: readonly TestLayer[],
    look: (root: string, upper: string) => T,
  ): Promise<T> {
    const image = await unpack(layers);
    const snapshot = store.snapshots.prepare("c1", image.record.chain);
    mountOverlay(snapshot.mount);
    try {
      return look(snapshot.merged, snapshot.upper);
    } finally {
      execFileSync("umount", [snapshot.merged]);
      store.snapshots.remove("c1");
    }
  }

  it("unpack() and prepare() make a root file system that can be mounted and written", async () => {
    const base = layer(
      dir("bin"),
      file("bin/sh", "#!", { mode: 0o755 }),
      dir("etc"),
      file("etc/name", "low"),
    );
    const top = layer(dir("etc"), file("etc/name", "high"), {
      type: "symlink",
      path: "sh",
      linkPath: "bin/sh",
    });
    await withMounted([base, top], (root, upper) => {
      assert.equal(readText(root, "etc/name"), "high");
      assert.equal(readText(root, "sh"), "#!");
      sh("echo new > etc/new", root);
      assert.equal(readText(upper, "etc/new"), "new\n");
    });
    assert.deepEqual(store.snapshots.list(), []);
  });

  it("whiteouts hide what lower layers have, and only that", async () => {
    const base = layer(
      dir("a"),
      file("a/1", "1"),
      file("a/2", "2"),
      dir("b"),
      file("b/1", "1"),
      dir("c"),
      file("c/1", "1"),
      dir("d"),
      file("d/1", "1"),
    );
    const top = layer(
      file("a/.wh.1", ""),
      dir("b"),
      file("b/new", "n"),
      file("b/.wh..wh..opq", ""),
      file(".wh.c", ""),
      // Both in one layer: the whiteout concerns the layers below, in whichever order.
      dir("d"),
      file("d/2", "2"),
      file(".wh.d", ""),
    );
    await withMounted([base, top], (root) => {
      assert.deepEqual(sh("find . | sort", root).trim().split("\n"), [
        ".",
        "./a",
        "./a/2",
        "./b",
        "./b/new",
        "./d",
        "./d/2",
      ]);
    });
  });

  it("a directory that follows its own whiteout is opaque", async () => {
    const base = layer(dir("d"), file("d/old", "o"));
    for (const top of [
      layer(file(".wh.d", ""), dir("d"), file("d/new", "n")),
      layer(file(".wh.d", ""), file("d/new", "n")),
    ])
      await withMounted([base, top], (root) =>
        assert.deepEqual(readdirSync(join(root, "d")), ["new"]),
      );
  });

  it("directories that a layer does not describe keep the attributes of those below", async () => {
    const base = layer(
      dir(".", { mode: 0o711, uid: 7 }),
      dir("tmp", { mode: 0o1777, uid: 5, gid: 6, mtimeSeconds: 1000 }),
      dir("tmp/x", { mode: 0o700, mtimeSeconds: 2000 }),
    );
    const top = layer(file("tmp/x/file", "f"));
    await withMounted([base, top], (root) => {
      assert.equal(
        sh("stat -c '%a %u %g %Y' . tmp tmp/x | sed 1s/[0-9]*$//", root),
        "711 7 0 \n1777 5 6 1000\n700 0 0 2000\n",
      );
    });
  });

  it("a hard link to a file of a layer below gets a copy of it", async () => {
    const base = layer(dir("bin"), file("bin/tool", "tool", { mode: 0o4755, uid: 3 }));
    const top = layer({ type: "hardlink", path: "bin/alias", linkPath: "bin/tool" });
    await withMounted([base, top], (root) => {
      assert.equal(readText(root, "bin/alias"), "tool");
      assert.equal(sh("stat -c '%a %u' bin/alias", root), "4755 3\n");
    });
  });

  it("layers are shared between images, and unpacked once", async () => {
    const base = layer(dir("bin"), file("bin/sh", "sh"));
    const one = await unpack([base, layer(file("one", "1"))]);
    const inode = () =>
      lstatSync(join(store.snapshots.layerPath(one.record.chain[0] ?? assert.fail()), "bin/sh"))
        .ino;
    const before = inode();
    const two = await unpack([base, layer(file("two", "2"))]);
    assert.equal(inode(), before);
    assert.equal(one.record.chain[0], two.record.chain[0]);
    assert.equal(store.snapshots.layers().length, 3);
  });

  for (const count of [130, 180])
    it(`an image of ${count} layers can be mounted`, async () => {
      const layers = Array.from({ length: count }, (_, i) =>
        layer(file(`f${i}`, String(i)), file("last", String(i))),
      );
      await withMounted(layers, (root) => {
        assert.equal(readdirSync(root).length, count + 1);
        assert.equal(readText(root, "last"), String(count - 1));
      });
    }).timeout(60_000);

  it("a layer whose diff ID differs from the config's is refused and leaves nothing", async () => {
    const good = layer(file("a", "a"));
    const other = layer(file("b", "b"));
    const image = await putImage(store, [good]);
    const source = { descriptor: good.descriptor, diffId: other.diffId };
    await assert.rejects(
      store.snapshots.unpack([source]),
      /has the diff ID sha256:.* config says sha256:/,
    );
    assert.deepEqual(readdirSync(store.layout.tmp), []);
    assert.equal(store.snapshots.layers().length, 0);
    assert.ok(image);
  });

  it("large layers are unpacked by threads while they are still being downloaded", async () => {
    const size = 12 * 1024 * 1024;
    const content = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4) content.writeUInt32LE((i * 2654435761) >>> 0, i);
    const big = makeLayer(makeTar([{ type: "file", path: "big", content }, file("end", "e")]));
    const writer = await store.blobs.ingest(big.descriptor);
    assert.ok(writer);
    const progress = writer.follow();
    const seen: number[] = [];
    const unpacked = store.snapshots.unpack(
      [
        {
          descriptor: big.descriptor,
          diffId: big.diffId,
          follow: () => ({ path: writer.path, progress }),
        },
      ],
      { onProgress: ({ unpackedBytes }) => seen.push(unpackedBytes) },
    );
    const half = big.blob.length >> 1;
    writer.write(0, big.blob.subarray(0, half));
    while (progress.consumed < half) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(store.snapshots.layers().length, 0);
    writer.write(half, big.blob.subarray(half));
    await writer.commit();
    const chain = await unpacked;
    assert.ok(
      readFileSync(join(store.snapshots.layerPath(chain[0] ?? assert.fail()), "big")).equals(
        content,
      ),
    );
    assert.equal(seen.at(-1), big.blob.length);
  });

  it("a download that ends before its unpacking begins is found where it went", async () => {
    const small = layer(file("a", "a"));
    const writer = await store.blobs.ingest(small.descriptor);
    assert.ok(writer);
    const source = { path: writer.path, progress: writer.follow() };
    writer.write(0, small.blob);
    await writer.commit();
    const { descriptor, diffId } = small;
    const chain = await store.snapshots.unpack([{ descriptor, diffId, follow: () => source }]);
    assert.ok(store.snapshots.has(chain));
  });

  it("a download that fails stops its unpacking and leaves nothing", async () => {
    const big = makeLayer(makeTar([file("big", "x".repeat(1 << 23))]), "none");
    const writer = await store.blobs.ingest(big.descriptor);
    assert.ok(writer);
    const progress = writer.follow();
    const unpacked = store.snapshots.unpack([
      {
        descriptor: big.descriptor,
        diffId: big.diffId,
        follow: () => ({ path: writer.path, progress }),
      },
    ]);
    writer.write(0, big.blob.subarray(0, 1 << 20));
    setTimeout(() => writer.abort(), 50);
    await assert.rejects(unpacked, { name: "AbortError" });
    assert.deepEqual(readdirSync(store.layout.tmp), []);
  });

  it("an aborted signal stops unpacking", async () => {
    const big = makeLayer(makeTar([file("big", "x".repeat(1 << 23))]), "none");
    const writer = await store.blobs.ingest(big.descriptor);
    assert.ok(writer);
    const progress = writer.follow();
    const controller = new AbortController();
    const unpacked = store.snapshots.unpack(
      [
        {
          descriptor: big.descriptor,
          diffId: big.diffId,
          follow: () => ({ path: writer.path, progress }),
        },
      ],
      { signal: controller.signal },
    );
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(unpacked, { name: "AbortError" });
    writer.discard();
  });

  it("after a reboot, layers that were not flushed are gone and the others stay", async () => {
    const flushed = layer(file("flushed", "f"));
    const fresh = layer(file("fresh", "f"));
    const kept = await unpack([flushed]);
    store.snapshots.settle();
    const lost = await unpack([fresh]);
    // The same boot: nothing happens.
    testStore(tmp.path)[Symbol.dispose]();
    assert.ok(store.snapshots.has(lost.record.chain));
    writeFileSync(join(store.layout.layers, "boot"), "another boot");
    testStore(tmp.path)[Symbol.dispose]();
    assert.ok(store.snapshots.has(kept.record.chain));
    assert.ok(!store.snapshots.has(lost.record.chain));
    await unpack([fresh]);
    assert.ok(store.snapshots.has(lost.record.chain));
  });

  it("prepare() refuses what is not unpacked, a taken ID and an ID that is a path", async () => {
    const base = layer(file("a", "a"));
    const image = await unpack([base]);
    const { chain } = image.record;
    store.snapshots.prepare("one", chain);
    assert.throws(() => store.snapshots.prepare("one", chain), { name: "InUseError" });
    assert.throws(() => store.snapshots.prepare("../x", chain), /as a container's ID/);
    const absent = layer(file("b", "b"));
    assert.throws(() => store.snapshots.prepare("two", [absent.diffId]), /is not unpacked/);
    assert.ok(!existsSync(join(store.layout.containers, "two")));
    assert.deepEqual([...store.snapshots.inUse()], chain);
  });

  it("layers unpacked at once equal GNU tar's result", async () => {
    const tree = join(tmp.path, "tree");
    mkdirSync(tree);
    sh(
      `mkdir -p usr/bin usr/lib etc; cp /bin/bash usr/bin/; ln usr/bin/bash usr/bin/sh; ln -s usr/bin bin
       cp /bin/ls usr/bin/ping; setcap cap_net_raw=ep usr/bin/ping; setfattr -n user.x -v 0x00ff80 etc
       mknod etc/null c 1 3; mkfifo etc/fifo; chown 1000:2000 etc/fifo; chmod 4711 usr/bin/bash
       chown 12:34 usr/lib; chmod 2775 usr/lib; truncate -s 5M etc/hole; printf x >> etc/hole
       printf x > $'etc/caf\\xe9'; ln -s nowhere etc/dangling; chown -h 5:6 etc/dangling
       touch -h -d '2010-01-01 00:00:00.123456789' etc/dangling usr/bin/bash; touch -d '1999-01-01' etc . usr`,
      tree,
    );
    const tar = execFileSync(
      "tar",
      [
        "--format=posix",
        "--sparse",
        "--xattrs",
        "--xattrs-include=*",
        "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        "-cf",
        "-",
        ".",
      ],
      { cwd: tree, maxBuffer: 1 << 28 },
    );
    const image = await unpack([makeLayer(tar)]);
    const [chainId = assert.fail()] = image.record.chain;
    const path = store.snapshots.layerPath(chainId);
    assert.deepEqual(describeTree(path), describeTree(tree));
    assert.ok(lstatSync(join(path, "etc/hole")).blocks < 100, "the hole was filled");
  });
});
