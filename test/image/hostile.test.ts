import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { textToByteString } from "../../image/byte-string.ts";
import { defaultLayerLimits, type LayerLimits } from "../../image/limits.ts";
import { encodeEntry } from "../../image/tar/writer.ts";
import { JobProgress } from "../../image/unpack/job.ts";
import { unpackLayer } from "../../image/unpack/unpack-layer.ts";
import { seededRandom } from "./collect.ts";
import { type Entry, makeTar, makeTemporary, sh } from "./fixtures.ts";

const dir = (path: string, rest: Partial<Entry> = {}): Entry => ({
  type: "directory",
  path,
  ...rest,
});
const file = (path: string, content = "x", rest: Partial<Entry> = {}): Entry => ({
  type: "file",
  path,
  content,
  ...rest,
});
const symlink = (path: string, linkPath: string): Entry => ({ type: "symlink", path, linkPath });
const hardlink = (path: string, linkPath: string): Entry => ({ type: "hardlink", path, linkPath });

/** All sentences of an error and its causes. */
function fullMessage(error: unknown): string {
  return error instanceof Error
    ? `${error.name}: ${error.message}\n${fullMessage(error.cause)}`
    : "";
}

describe("image unpacking of hostile layers", () => {
  let tmp: ReturnType<typeof makeTemporary>;
  let root = "";
  let outside = "";
  beforeEach(() => {
    tmp = makeTemporary();
    root = join(tmp.path, "inner", "root");
    outside = join(tmp.path, "outside");
    mkdirSync(root, { recursive: true });
    mkdirSync(outside);
    writeFileSync(join(outside, "victim"), "innocent");
  });
  afterEach(() => {
    // Whatever happens, nothing outside the root has changed.
    try {
      assert.equal(readFileSync(join(outside, "victim"), "utf8"), "innocent");
      assert.deepEqual(readdirSync(outside), ["victim"]);
      assert.deepEqual(readdirSync(tmp.path).sort(), ["blob", "inner", "outside"]);
      assert.deepEqual(readdirSync(join(tmp.path, "inner")), ["root"]);
      assert.equal(sh("stat -c '%a %h' victim", outside), "644 1\n");
    } finally {
      tmp[Symbol.dispose]();
    }
  });

  async function apply(
    bytes: Uint8Array,
    options: { form?: "overlay" | "flat"; limits?: Partial<LayerLimits>; into?: string } = {},
  ) {
    const blobPath = join(tmp.path, "blob");
    writeFileSync(blobPath, bytes);
    const progress = new JobProgress();
    progress.complete(bytes.length);
    return unpackLayer({
      blobPath,
      blobBytes: bytes.length,
      mediaType: "",
      diffId: undefined,
      directory: options.into ?? root,
      form: options.form ?? "flat",
      chown: true,
      userXattr: false,
      limits: { ...defaultLayerLimits, ...options.limits },
      shared: progress.shared,
    });
  }

  const refused: readonly (readonly [string, () => Entry[], RegExp])[] = [
    [
      "a name with ..",
      () => [file("../outside/victim")],
      /Cannot unpack "\.\.\/outside\/victim".*without "\.\."/s,
    ],
    [
      "a name with .. in the middle",
      () => [dir("a"), file("a/../../outside/victim")],
      /without "\.\."/,
    ],
    ["a name that ends in ..", () => [dir("a/..")], /without "\.\."/],
    [
      "a hard link out of the root",
      () => [hardlink("a", "../outside/victim")],
      /link target.*without "\.\."/s,
    ],
    [
      "a hard link to an absolute path that exists only outside",
      () => [hardlink("a", join(outside, "victim"))],
      /does not exist/,
    ],
    ["a hard link to a directory", () => [dir("d"), hardlink("a", "d")], /is a directory/],
    ["a whiteout of ..", () => [file(".wh...", "")], /a whiteout names a file/],
    [
      "a whiteout with .. on its way",
      () => [dir("a"), file("a/../../outside/.wh.victim", "")],
      /without "\.\."/,
    ],
    [
      "a path through a file",
      () => [file("f"), file("f/x")],
      /Cannot use "f" as a directory: Not a directory/,
    ],
    [
      "a path through a symlink to a file",
      () => [file("f"), symlink("s", "f"), file("s/x")],
      /Cannot use "s" as a directory/,
    ],
    [
      "a path through a symlink that leads nowhere",
      () => [symlink("s", "nowhere"), file("s/x")],
      /Cannot use "s" as a directory: No such file/,
    ],
    [
      "a path through a loop of symlinks",
      () => [symlink("s", "t"), symlink("t", "s"), file("s/x")],
      /Too many/,
    ],
    ["a root that is a file", () => [file("./")], /the root a file|name/],
    ["a component longer than the kernel allows", () => [file("n".repeat(300))], /ENAMETOOLONG/],
    [
      "a path longer than the limit",
      () => [file("n/".repeat(2100))],
      /has 42\d\d bytes, the limit is 4095/,
    ],
  ];
  for (const form of ["flat", "overlay"] as const)
    for (const [why, entries, pattern] of refused) {
      if (form === "overlay" && /exists only outside/.test(why)) continue; // a layer below may have it
      it(`a ${form} layer with ${why} is refused`, async () => {
        await assert.rejects(apply(makeTar(entries()), { form }), (error) => {
          assert.match(fullMessage(error), pattern);
          assert.match(fullMessage(error), /^(LayerError|LimitError|StoreError)/);
          return true;
        });
      });
    }

  const confined: readonly (readonly [string, () => Entry[], string])[] = [
    ["an absolute name", () => [file("/abs", "in")], "abs"],
    [
      "an absolute symlink and a path through it",
      () => [dir("outside"), symlink("s", "/outside"), file("s/new", "in")],
      "outside/new",
    ],
    [
      "a symlink with many .. and a path through it",
      () => [dir("outside"), symlink("s", "../../../../../../outside"), file("s/new", "in")],
      "outside/new",
    ],
    [
      "a chain of symlinks",
      () => [dir("deep"), symlink("a", ".."), symlink("b", "a/../deep"), file("b/new", "in")],
      "deep/new",
    ],
    [
      "a directory replaced by a symlink",
      () => [dir("d"), file("d/x"), dir("outside"), symlink("d", "/outside"), file("d/new", "in")],
      "outside/new",
    ],
    [
      "a symlink replaced by a directory",
      () => [dir("outside"), symlink("d", "/outside"), dir("d"), file("d/new", "in")],
      "d/new",
    ],
    [
      "a symlink replaced by a file",
      () => [symlink("f", "../../outside/victim"), file("f", "in")],
      "f",
    ],
    [
      "a hard link to a symlink that leads out",
      () => [symlink("s", "../../outside/victim"), hardlink("h", "s"), file("h", "in")],
      "h",
    ],
    ["names with . and doubled slashes", () => [file(".//./a/.//b", "in")], "a/b"],
  ];
  for (const form of ["flat", "overlay"] as const)
    for (const [why, entries, path] of confined)
      it(`a ${form} layer with ${why} stays inside`, async () => {
        await apply(makeTar(entries()), { form });
        assert.equal(readFileSync(join(root, path), "utf8"), "in");
      });

  it("absolute symlinks to the real victim lead to a place inside, made or refused", async () => {
    await assert.rejects(
      apply(makeTar([symlink("s", outside), file("s/victim", "evil")])),
      /Cannot unpack/,
    );
    assert.equal(readlinkSync(join(root, "s")), outside);
  });

  it("setuid bits and owners survive in whichever order the kernel drops them", async () => {
    await apply(
      makeTar([
        file("s", "x", { mode: 0o6755, uid: 1000, gid: 1000 }),
        dir("g", { mode: 0o3775, gid: 5 }),
        file("g/f"),
      ]),
    );
    assert.equal(sh("stat -c '%a %u %g' s g g/f", root), "6755 1000 1000\n3775 0 5\n644 0 0\n");
  });

  it("extended attributes that would steer overlayfs are left out, with a warning", async () => {
    const xattrs = new Map([
      ["trusted.overlay.redirect", Buffer.from("/etc")],
      ["user.ok", Buffer.from("1")],
    ]) as never;
    const { warnings } = await apply(makeTar([dir("d", { xattrs })]), { form: "overlay" });
    assert.match(warnings.join(), /trusted\.overlay\.redirect/);
    assert.equal(sh("getfattr -d -m - d | grep -v '^$'", root), '# file: d\nuser.ok="1"\n');
  });

  it("a flat layer's whiteouts remove what was below and spare what is its own", async () => {
    await apply(
      makeTar([
        dir("a"),
        file("a/1"),
        file("a/2"),
        dir("b"),
        file("b/1"),
        dir("c"),
        dir("c/d"),
        file("c/d/1"),
        file("f"),
      ]),
    );
    await apply(
      makeTar([
        file("a/.wh.1"),
        dir("b"),
        file("b/2"),
        file("b/.wh..wh..opq"),
        file("c/d/2"),
        file(".wh.c"),
        file("f", "new"),
        file(".wh.f"),
      ]),
    );
    assert.equal(sh("find . -type f | sort | xargs", root), "./a/2 ./b/2 ./c/d/2 ./f\n");
    assert.equal(readFileSync(join(root, "f"), "utf8"), "new");
  });

  it("10 GB of zeros in a small gzip are refused at once, as a file and as plain zeros", async () => {
    const zeros = Buffer.alloc(8 << 20);
    const bomb = gzipSync(
      Buffer.concat([
        encodeEntry({ type: "file", path: textToByteString("zeros"), sizeBytes: 1e10 }),
        zeros,
      ]),
    );
    const started = performance.now();
    await assert.rejects(apply(bomb), { name: "LimitError" });
    const member = gzipSync(zeros);
    const plain = Buffer.concat(Array.from({ length: 1250 }, () => member));
    await assert.rejects(apply(plain), { name: "LimitError" });
    assert.ok(performance.now() - started < 10_000);
    assert.ok(Number(sh("du -s .", root).split("\t")[0]) < 1024);
  });

  it("many entries that each promise much are refused when the sum passes the limit", async () => {
    const big = encodeEntry({
      type: "file",
      path: textToByteString("f"),
      sizeBytes: 12 * 1024 ** 2,
    });
    const body = Buffer.alloc(1 << 20);
    const parts = [big, ...Array.from({ length: 12 }, () => body), big];
    await assert.rejects(
      apply(gzipSync(Buffer.concat(parts), { level: 1 }), {
        limits: { ratioFloorBytes: 2e7, maxExpansionRatio: 1 },
      }),
      { name: "LimitError", limit: "maxExpansionRatio" },
    );
    rmSync(join(root, "f"));
  }).timeout(60_000);

  it("a layer cut at any place is refused", async () => {
    const tar = makeTar([dir("a"), file("a/b", "y".repeat(3000)), file("c", "z".repeat(700))]);
    const gz = gzipSync(tar);
    for (const cut of [1, 2, 10, 100, gz.length - 9, gz.length - 1])
      await assert.rejects(apply(gz.subarray(0, cut)), /Cannot (decompress|read)/, `cut at ${cut}`);
    for (const cut of [100, 600, 1600, 2100])
      await assert.rejects(apply(tar.subarray(0, cut)), /truncated|decompress/);
  });

  it("a full disk is said to be full", async () => {
    const disk = join(root, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    try {
      await assert.rejects(
        apply(makeTar([file("big", "x".repeat(3 << 20))]), { into: disk }),
        (error) => {
          assert.match(fullMessage(error), /Cannot unpack "big": the disk is full/);
          assert.match(String((error as { hint?: string }).hint), /prune/);
          return true;
        },
      );
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  it("random layers of traps never leave the root (fuzz)", async () => {
    const seed = Number(process.env["FUZZ_SEED"] ?? 42);
    const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 60);
    const random = seededRandom(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
    const part = () => pick(["a", "b", "c", "..", ".", "", "outside", "victim", "inner", "root"]);
    const path = () =>
      `${pick(["", "/", "./"])}${Array.from({ length: 1 + Math.floor(random() * 4) }, part).join("/")}`;
    const target = () =>
      pick([path(), outside, "/", "..", `${outside}/victim`, "../../outside", "../../../../../.."]);
    let accepted = 0;
    for (let round = 0; round < rounds; round++) {
      const entries = Array.from({ length: 2 + Math.floor(random() * 12) }, (): Entry => {
        const at = path() || "x";
        const base = at.slice(at.lastIndexOf("/") + 1);
        return pick([
          () => file(at, "evil", { mode: 0o777 }),
          () => dir(at, { mode: 0o777 }),
          () => symlink(at, target() || "x"),
          () => hardlink(at, target() || "x"),
          () => file(`${at.slice(0, at.length - base.length)}.wh.${base}`),
          () => file(`${at}/.wh..wh..opq`),
        ])();
      });
      // One at a time, so that a refused entry does not end the round.
      const form = pick(["flat", "overlay"] as const);
      for (const entry of entries) {
        try {
          await apply(makeTar([entry]), { form });
          accepted++;
        } catch (error) {
          assert.match(
            fullMessage(error),
            /^(LayerError|StoreError|LimitError): Cannot/,
            `seed ${seed}, round ${round}`,
          );
        }
      }
      rmSync(root, { recursive: true, force: true });
      mkdirSync(root);
    }
    assert.ok(accepted > rounds, `only ${accepted} entries were accepted`);
  }).timeout(60_000);
});
