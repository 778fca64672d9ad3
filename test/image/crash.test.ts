import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { createWriteStream, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { openStore, prune, type Store, saveImages, storeUsage } from "../../image/index.ts";
import { parseReference } from "../../oci/index.ts";
import { seededRandom } from "./collect.ts";
import {
  describeTree,
  type Entry,
  makeLayer,
  makeTar,
  makeTemporary,
  putImage,
  sh,
  sha256,
  type TestLayer,
  testStore,
} from "./fixtures.ts";

const child = fileURLToPath(new URL("./child.ts", import.meta.url));
const isBun = "Bun" in globalThis;

/** Bytes that do not compress. */
function noise(sizeBytes: number, seed: number): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(sizeBytes);
  for (let i = 0; i < sizeBytes; i += 4) bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), i);
  return bytes;
}

describe("image store and crashes", function () {
  this.timeout(120_000);
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

  type User = { readonly uid?: number; readonly gid?: number };
  function start(user: User, ...args: string[]): ChildProcess & { output: string } {
    const runtime = isBun
      ? []
      : [
          "--import",
          pathToFileURL(
            join(import.meta.dirname ?? ".", "../../node_modules/tsx/dist/esm/index.mjs"),
          ).href,
        ];
    const process_ = spawn(process.execPath, [...runtime, child, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      ...user,
    });
    const started = Object.assign(process_, { output: "" });
    process_.stdout?.on("data", (text: Buffer) => {
      started.output += text.toString();
    });
    return started;
  }
  const ended = (process_: ChildProcess) =>
    new Promise<number | string>((resolve) =>
      process_.on("close", (code, signal) => resolve(code ?? signal ?? "")),
    );
  async function run(...args: string[]): Promise<string> {
    const process_ = start({}, ...args);
    assert.equal(await ended(process_), 0);
    return process_.output;
  }
  /** Kills the child some time after it has said its first word. */
  async function runAndKill(afterMs: number, ...args: string[]): Promise<boolean> {
    const process_ = start({}, ...args);
    const end = ended(process_);
    await new Promise((resolve) => {
      process_.stdout?.once("data", resolve);
      process_.once("exit", resolve);
    });
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    process_.kill("SIGKILL");
    return (await end) === "SIGKILL";
  }

  function blobFile(bytes: Buffer) {
    const path = join(tmp.path, "blob");
    writeFileSync(path, bytes);
    const descriptor = {
      mediaType: "application/octet-stream",
      digest: sha256(bytes),
      size: bytes.length,
    };
    return { path, descriptor, json: JSON.stringify(descriptor) };
  }

  it("an ingest that is killed goes on where it stopped", async () => {
    const bytes = noise(40 << 20, 1);
    const { path, descriptor, json } = blobFile(bytes);
    let killed = 0;
    let resumed = 0;
    for (const afterMs of [5, 60, 90, 30, 120]) {
      if (store.blobs.has(descriptor.digest)) break;
      if (await runAndKill(afterMs, "ingest", store.root, path, json)) killed++;
    }
    const output = await run("ingest", store.root, path, json);
    resumed = Number(/at (\d+)/.exec(output)?.[1] ?? 0);
    assert.ok(killed > 0);
    assert.ok(resumed > 0 || /there/.test(output), output);
    assert.ok(Buffer.from(store.blobs.read(descriptor.digest)).equals(bytes));
    assert.deepEqual(
      readdirSync(store.layout.ingest).filter((name) => !name.endsWith(".lock")),
      [],
    );
  });

  it("what a kill behind the last rename leaves goes with the next ingest", async () => {
    const bytes = noise(1 << 20, 4);
    const { path, descriptor, json } = blobFile(bytes);
    await run("ingest", store.root, path, json);
    const state = join(store.layout.ingest, `${descriptor.digest.replace(":", "-")}.state`);
    writeFileSync(state, "[]");
    assert.match(await run("ingest", store.root, path, json), /there/);
    assert.ok(!existsSync(state));
  });

  it("two processes that want the same blob both get it, and one fetches it", async () => {
    const bytes = noise(24 << 20, 2);
    const { path, descriptor, json } = blobFile(bytes);
    const outputs = await Promise.all([1, 2, 3].map(() => run("ingest", store.root, path, json)));
    assert.ok(store.blobs.has(descriptor.digest));
    assert.equal(outputs.filter((output) => output.includes("stored")).length, 1, outputs.join());
  });

  it("when the process that fetches a blob is killed, the one that waits takes over", async () => {
    const bytes = noise(64 << 20, 3);
    const { path, descriptor, json } = blobFile(bytes);
    const first = start({}, "ingest", store.root, path, json);
    const firstEnd = ended(first);
    await new Promise((resolve) => first.stdout?.once("data", resolve));
    const second = start({}, "ingest", store.root, path, json);
    const secondEnd = ended(second);
    await new Promise((resolve) => setTimeout(resolve, 100));
    first.kill("SIGKILL");
    await firstEnd;
    assert.equal(await secondEnd, 0);
    assert.ok(store.blobs.has(descriptor.digest));
  });

  function layers(): TestLayer[] {
    return [1, 2].map((seed) => {
      const entries: Entry[] = [];
      for (let d = 0; d < 30; d++) {
        entries.push({ type: "directory", path: `l${seed}d${d}`, mode: 0o750, mtimeSeconds: d });
        for (let f = 0; f < 40; f++)
          entries.push({
            type: "file",
            path: `l${seed}d${d}/f${f}`,
            content: noise(4000, seed * 1000 + f),
            uid: f,
          });
      }
      return makeLayer(makeTar(entries));
    });
  }

  it("an unpack that is killed at any moment leaves whole layers only, and then succeeds", async () => {
    const image = await putImage(store, layers());
    store.images.tag(image, parseReference("x:1"));
    const random = seededRandom(4);
    let killed = 0;
    for (let round = 0; round < 8; round++) {
      if (await runAndKill(random() * 250, "unpack", store.root, "x:1")) killed++;
      // What is in place is complete.
      for (const { chainId, entries } of store.snapshots.layers())
        assert.equal(
          Number(sh("find . -mindepth 1 | wc -l", store.snapshots.layerPath(chainId))),
          entries,
        );
      if (round % 3 === 2)
        for (const { chainId } of store.snapshots.layers()) store.snapshots.removeLayer(chainId);
    }
    assert.ok(killed >= 3, `killed only ${killed} times`);
    await run("unpack", store.root, "x:1");
    using other = testStore(join(tmp.path, "other"));
    await putImage(other, layers());
    await other.snapshots.unpack(
      image.record.layers.map((descriptor, i) => ({
        descriptor,
        diffId: image.record.diffIds[i] ?? assert.fail(),
      })),
    );
    for (const chainId of image.record.chain)
      assert.deepEqual(
        describeTree(store.snapshots.layerPath(chainId)).slice(0, 500),
        describeTree(other.snapshots.layerPath(chainId)).slice(0, 500),
      );
    await prune(store);
    assert.deepEqual(readdirSync(store.layout.tmp), [], "prune sweeps what the killed left");
    assert.equal(storeUsage(store).unfinished, storeUsage(other).unfinished);
  });

  it("two processes that unpack the same image at once both succeed", async () => {
    const image = await putImage(store, layers());
    await Promise.all([1, 2].map(() => run("unpack", store.root, image.id)));
    assert.ok(store.snapshots.has(image.record.chain));
    assert.deepEqual(readdirSync(store.layout.tmp), []);
  });

  it("a load that is killed at any moment leaves a store that works, and then succeeds", async () => {
    const image = await putImage(store, layers());
    const archive = join(tmp.path, "image.tar");
    await pipeline(
      Readable.fromWeb(saveImages(store, [image.id]) as never),
      createWriteStream(archive),
    );
    using other = testStore(join(tmp.path, "other"));
    const random = seededRandom(5);
    for (let round = 0; round < 6; round++) {
      await runAndKill(random() * 120, "load", other.root, archive);
      for (const found of other.images.list()) other.images.config(found.record);
    }
    await run("load", other.root, archive);
    assert.equal(other.images.get("killed:1").id, image.id);
    await prune(other);
    assert.deepEqual(readdirSync(other.layout.tmp), []);
  });

  it("names are whole or absent however many processes write them", async () => {
    const image = await putImage(store, []);
    const writers = ["a", "b", "c"].map((tag) => start({}, "tag", store.root, image.id, tag));
    const ends = writers.map(ended);
    await new Promise((resolve) => setTimeout(resolve, 900));
    writers[0]?.kill("SIGKILL");
    await Promise.all(ends);
    for (const name of store.images.names())
      assert.match(name.reference, /^docker\.io\/library\/name\d+:[abc]$/);
    const files = readdirSync(store.layout.names).length;
    assert.equal(files, store.images.names().length, "no name is damaged");
    assert.ok(files >= 800);
  });

  it("an ordinary user unpacks what an ordinary user may", async function () {
    const layer = makeLayer(
      makeTar([
        { type: "directory", path: "locked", mode: 0o500, uid: 5 },
        {
          type: "file",
          path: "locked/secret",
          content: "s",
          mode: 0o400,
          uid: 7,
          xattrs: new Map([["user.x" as never, Buffer.from("1")]]),
        },
        { type: "file", path: "su", content: "s", mode: 0o4755 },
        { type: "character", path: "null", devMajor: 1, devMinor: 3 },
        { type: "fifo", path: "pipe" },
        { type: "file", path: ".wh.gone" },
        { type: "file", path: "locked/.wh..wh..opq" },
      ]),
    );
    const image = await putImage(store, [layer]);
    sh(`chown -R 65534:65534 . && chmod 755 .`, tmp.path);
    const probe = spawnSync("setpriv", [
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      process.execPath,
      "-e",
      "require('fs').readFileSync(process.argv[1])",
      child,
    ]);
    if (probe.status !== 0) {
      if (this.test) this.test.title += " (skipped: user 65534 cannot read this checkout)";
      this.skip();
    }
    const user = { uid: 65534, gid: 65534 };
    const started = start(user, "unpack", store.root, image.id);
    assert.equal(await ended(started), 0);
    const [chainId = assert.fail()] = image.record.chain;
    const path = store.snapshots.layerPath(chainId);
    assert.equal(
      sh("find . -mindepth 1 -printf '%P %y %m %U\\n' | sort", path),
      "gone c 0 65534\nlocked d 500 65534\nlocked/secret f 400 65534\npipe p 644 65534\nsu f 4755 65534\n",
    );
    assert.match(
      sh("getfattr -d -m - locked locked/secret", path),
      /user.overlay.opaque="y"[\s\S]*user.x="1"/,
    );
    assert.match(store.snapshots.layer(chainId)?.warnings.join() ?? "", /left out device "null"/);
    // And removes it again, locked directories included.
    const again = start(user, "remove", store.root, image.id);
    assert.equal(await ended(again), 0);
    assert.deepEqual(store.snapshots.layers(), []);
  });

  it("prune waits for a lease", async () => {
    const lease = await store.lease();
    let done = false;
    const pruned = prune(store).then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(done, false);
    lease[Symbol.dispose]();
    await pruned;
  });

  it("a full disk is said to be full, loses nothing, and the same again works with more room", async () => {
    const disk = join(tmp.path, "disk");
    sh(`mkdir ${disk}`, tmp.path);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]);
    try {
      using small = testStore(disk);
      const keep = makeLayer(makeTar([{ type: "file", path: "keep", content: noise(500_000, 6) }]));
      const kept = await putImage(small, [keep]);
      const bytes = noise(6 << 20, 7);
      const { descriptor } = blobFile(bytes);
      const fill = async () => {
        using writer = await small.blobs.ingest(descriptor);
        for (const { offset, length } of writer?.missing ?? [])
          for (let at = offset; at < offset + length; at += 65536)
            writer?.write(at, bytes.subarray(at, Math.min(at + 65536, offset + length)));
        await writer?.commit();
      };
      await assert.rejects(fill(), {
        name: "StoreError",
        message: /the disk is full/,
        hint: /prune/,
      } as never);
      assert.equal(small.images.get(kept.id).id, kept.id);
      assert.throws(() => small.images.tag(kept, parseReference("x:1")), /the disk is full/);
      execFileSync("mount", ["-o", "remount,size=30m", disk]);
      await fill();
      assert.ok(Buffer.from(small.blobs.read(descriptor.digest)).equals(bytes));
      small.images.tag(kept, parseReference("x:1"));
      assert.ok(
        readFileSync(small.blobs.path(keep.descriptor.digest)).equals(Buffer.from(keep.blob)),
      );
    } finally {
      execFileSync("umount", [disk]);
    }
  });
});

describe("image ingest", () => {
  let tmp: ReturnType<typeof makeTemporary>;
  let store: Store;
  beforeEach(() => {
    tmp = makeTemporary();
    store = testStore(tmp.path);
  });
  afterEach(() => tmp[Symbol.dispose]());
  const bytes = noise(300_000, 8);
  const descriptor = { mediaType: "x/y", digest: sha256(bytes), size: bytes.length };
  const open = async () =>
    (await store.blobs.ingest(descriptor)) ?? assert.fail("it is there already");

  it("ranges may come in any order", async () => {
    using writer = await open();
    const random = seededRandom(9);
    const starts = Array.from({ length: 30 }, (_, i) => i * 10_000).sort(() => random() - 0.5);
    for (const at of starts) writer.write(at, bytes.subarray(at, at + 10_000));
    assert.deepEqual(writer.missing, []);
    await writer.commit();
    assert.ok(Buffer.from(store.blobs.read(descriptor.digest)).equals(bytes));
  });

  it("abort keeps what has arrived, discard does not", async () => {
    const first = await open();
    first.write(0, bytes.subarray(0, 100_000));
    first.write(200_000, bytes.subarray(200_000, 250_000));
    first.abort();
    const second = await open();
    assert.equal(second.offset, 100_000);
    assert.deepEqual(second.missing, [
      { offset: 100_000, length: 100_000 },
      { offset: 250_000, length: 50_000 },
    ]);
    second.discard();
    using third = await open();
    assert.equal(third.offset, 0);
    for (const { offset, length } of third.missing)
      third.write(offset, bytes.subarray(offset, offset + length));
    await third.commit();
  });

  it("a wrong digest is refused and forgotten, so that the next attempt starts anew", async () => {
    const writer = await open();
    writer.write(0, Buffer.alloc(bytes.length));
    await assert.rejects(writer.commit(), {
      name: "DigestError",
      message: /what arrived has the digest sha256:/,
    });
    assert.ok(!store.blobs.has(descriptor.digest));
    using again = await open();
    assert.equal(again.offset, 0);
  });

  it("a resumed blob whose beginning was damaged is refused", async () => {
    const first = await open();
    first.write(0, bytes.subarray(0, 100_000));
    first.abort();
    const part = join(
      store.layout.ingest,
      readdirSync(store.layout.ingest).find((name) => name.endsWith(".part")) ?? assert.fail(),
    );
    const damaged = readFileSync(part);
    damaged[5000] = (damaged[5000] ?? 0) ^ 1;
    writeFileSync(part, damaged);
    const second = await open();
    second.write(100_000, bytes.subarray(100_000));
    await assert.rejects(second.commit(), { name: "DigestError" });
  });

  it("bytes beyond the stated size are refused at once", async () => {
    using writer = await open();
    assert.throws(() => writer.write(299_999, Buffer.alloc(2)), {
      name: "DigestError",
      message: /longer than the 300000 bytes/,
    });
  });

  it("an incomplete blob is not committed", async () => {
    using writer = await open();
    writer.write(0, bytes.subarray(0, 10));
    await assert.rejects(writer.commit(), /10 of 300000 bytes have arrived/);
    assert.ok(!store.blobs.has(descriptor.digest));
  });

  for (const [why, state] of [
    ["no JSON", "{"],
    ["a range beyond the file", '[{"offset":0,"length":999999}]'],
    ["a negative offset", '[{"offset":-5,"length":9}]'],
  ] as const)
    it(`a state file with ${why} means to start anew`, async () => {
      const first = await open();
      first.write(0, bytes.subarray(0, 1000));
      first.abort();
      const name =
        readdirSync(store.layout.ingest).find((file) => file.endsWith(".state")) ?? assert.fail();
      writeFileSync(join(store.layout.ingest, name), state);
      using second = await open();
      assert.equal(second.offset, 0);
    });

  it("a blob that rots on disk is noticed when it is read", async () => {
    using writer = await open();
    writer.write(0, bytes);
    await writer.commit();
    const path = store.blobs.path(descriptor.digest);
    const rotten = readFileSync(path);
    rotten[7] = (rotten[7] ?? 0) ^ 1;
    writeFileSync(path, rotten);
    assert.throws(() => store.blobs.read(descriptor.digest), { name: "DigestError" });
  });

  it("sha512 blobs are stored like sha256 ones", async () => {
    const { createHash } = await import("node:crypto");
    const digest = `sha512:${createHash("sha512").update(bytes).digest("hex")}` as never;
    using writer = await store.blobs.ingest({ mediaType: "x/y", digest, size: bytes.length });
    writer?.write(0, bytes);
    await writer?.commit();
    assert.ok(store.blobs.has(digest));
    assert.equal(readdirSync(join(store.layout.blobs, "sha512")).length, 1);
  });

  it("a directory that is no store of ours is left alone", () => {
    writeFileSync(join(tmp.path, "oci-layout"), '{"imageLayoutVersion":"9"}');
    assert.throws(() => openStore(tmp.path), {
      name: "StoreError",
      message: /layout version is "9"/,
    });
    assert.deepEqual(readdirSync(tmp.path).sort(), ["oci-layout", "store"]);
  });
});
