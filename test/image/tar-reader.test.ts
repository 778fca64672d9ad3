import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { textToByteString } from "../../image/byte-string.ts";
import { LayerError, LimitError } from "../../image/errors.ts";
import { defaultLayerLimits } from "../../image/limits.ts";
import { TarReader } from "../../image/tar/reader.ts";
import { encodeEntry, endOfArchive, padding, type TarRecord } from "../../image/tar/writer.ts";
import { Collector, collectTar, seededRandom } from "./collect.ts";

const long = `${"long-directory-name/".repeat(7)}${"f".repeat(150)}`;

describe("image/tar", () => {
  let base = "";
  let tree = "";
  const sh = (script: string) =>
    execFileSync("bash", ["-ec", script], { cwd: tree, stdio: ["ignore", "ignore", "inherit"] });
  const tar = (...args: string[]) =>
    execFileSync("tar", [...args, "-cf", "-", "."], { cwd: tree, maxBuffer: 1 << 28 });

  before(() => {
    base = mkdtempSync(join(tmpdir(), "mw-tar-"));
    tree = join(base, "tree");
    mkdirSync(tree);
    sh(`
      printf hello > plain; chown 12:34 plain; chmod 4755 plain; touch -d '2001-02-03 04:05:06.789012345Z' plain
      : > empty; mkdir -m 2775 dir; ln plain hard; ln -s ../etc/passwd soft; mkfifo -m 600 pipe
      mknod null c 1 3; mknod blk b 7 200
      mkdir -p sub; head -c 100000 /dev/urandom > sub/random
      truncate -s 20M sparse; printf A | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
      printf B | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
      for i in $(seq 1 40); do printf X | dd of=holes bs=1 seek=$((i*200000)) conv=notrunc status=none; done
    `);
  });
  after(() => rmSync(base, { recursive: true, force: true }));

  for (const [format, exact] of [
    ["gnu", false],
    ["posix", true],
    ["ustar", false],
    ["v7", false],
  ] as const)
    it(`TarReader reads what GNU tar writes as ${format}`, () => {
      const args = [`--format=${format}`];
      if (format === "v7") args.push("--exclude=pipe", "--exclude=null", "--exclude=blk");
      const bytes = tar(...args);
      const random = seededRandom(1);
      for (const chunk of [() => 1 << 20, () => 1 + Math.floor(random() * 3000)]) {
        const entries = collectTar(bytes, chunk);
        const get = (name: string) => {
          const item = entries.get(`./${name}`);
          assert.ok(item, name);
          return item;
        };
        const plain = get("plain").entry.type === "file" ? get("plain") : get("hard");
        const link = plain === get("plain") ? get("hard") : get("plain");
        assert.equal(plain.content.toString(), "hello");
        assert.equal(link.entry.type, "hardlink");
        assert.equal(link.entry.linkPath, plain.entry.path);
        const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds } = plain.entry;
        assert.deepEqual([mode, uid, gid], [0o4755, 12, 34]);
        assert.equal(mtimeSeconds, Date.UTC(2001, 1, 3, 4, 5, 6) / 1000);
        assert.equal(mtimeNanoseconds, exact ? 789012345 : 0);
        assert.equal(get("empty").content.length, 0);
        assert.equal(get("dir").entry.type, "directory");
        assert.equal(get("dir").entry.mode, 0o2775);
        assert.equal(get("soft").entry.type, "symlink");
        assert.equal(get("soft").entry.linkPath, "../etc/passwd");
        assert.deepEqual(get("sub/random").content, readFileSync(join(tree, "sub/random")));
        if (format === "v7") continue;
        assert.equal(get("pipe").entry.type, "fifo");
        assert.deepEqual([get("null").entry.devMajor, get("null").entry.devMinor], [1, 3]);
        assert.deepEqual([get("blk").entry.devMajor, get("blk").entry.devMinor], [7, 200]);
        assert.equal(get("blk").entry.type, "block");
      }
    });

  for (const args of [
    ["--format=gnu"],
    ["--format=posix", "--sparse-version=0.0"],
    ["--format=posix", "--sparse-version=0.1"],
    ["--format=posix", "--sparse-version=1.0"],
  ])
    it(`TarReader keeps holes of sparse files written with ${args.join(" ")}`, () => {
      const bytes = tar("--sparse", "--hole-detection=raw", ...args);
      assert.ok(bytes.length < 3_000_000, "tar did not write sparse entries");
      const random = seededRandom(2);
      for (const chunk of [() => 1 << 20, () => 1 + Math.floor(random() * 900)]) {
        const entries = collectTar(bytes, chunk);
        for (const name of ["sparse", "holes"]) {
          const item = entries.get(`./${name}`);
          assert.ok(item, name);
          assert.ok((item.entry.extents?.length ?? 0) > 1, `${name} has extents`);
          assert.equal(item.entry.sizeBytes, lstatSync(join(tree, name)).size);
          assert.ok(item.content.equals(readFileSync(join(tree, name))), `${name} differs`);
        }
      }
    });

  for (const format of ["gnu", "posix"])
    it(`TarReader reads long names and links written as ${format}`, () => {
      const dir = join(base, `long-${format}`);
      mkdirSync(dir);
      execFileSync(
        "bash",
        ["-ec", `mkdir -p "$(dirname ${long})"; echo x > ${long}; ln -s ${long} s`],
        { cwd: dir },
      );
      const bytes = execFileSync("tar", [`--format=${format}`, "-cf", "-", "."], { cwd: dir });
      const entries = collectTar(bytes, () => 100);
      assert.equal(entries.get(`./${long}`)?.content.toString(), "x\n");
      assert.equal(entries.get("./s")?.entry.linkPath, long);
    });

  it("TarReader reads base-256 numbers and times before 1970", () => {
    const dir = join(base, "big");
    mkdirSync(dir);
    execFileSync(
      "bash",
      ["-ec", "echo x > f; chown 3000000000:4000000000 f; touch -d '1960-01-01 00:00:00.25Z' f"],
      { cwd: dir },
    );
    for (const format of ["gnu", "posix"]) {
      const bytes = execFileSync("tar", [`--format=${format}`, "-cf", "-", "f"], { cwd: dir });
      const entry = collectTar(bytes).get("f")?.entry;
      assert.ok(entry);
      assert.deepEqual([entry.uid, entry.gid], [3000000000, 4000000000]);
      assert.equal(entry.mtimeSeconds, Date.UTC(1960, 0, 1) / 1000);
      assert.equal(entry.mtimeNanoseconds, format === "posix" ? 250000000 : 0);
    }
  });

  it("TarReader keeps binary xattrs, file capabilities among them, byte for byte", () => {
    const dir = join(base, "xattr");
    mkdirSync(dir);
    execFileSync(
      "bash",
      [
        "-ec",
        "echo x > f; setcap cap_net_raw,cap_sys_admin=eip f; setfattr -n user.bin -v 0x00ff80c3fe3d0a f",
      ],
      { cwd: dir },
    );
    const bytes = execFileSync(
      "tar",
      ["--format=posix", "--xattrs", "--xattrs-include=*", "-cf", "-", "f"],
      { cwd: dir },
    );
    const xattrs = collectTar(bytes).get("f")?.entry.xattrs;
    assert.deepEqual(
      [...(xattrs?.get(textToByteString("user.bin")) ?? [])],
      [0, 0xff, 0x80, 0xc3, 0xfe, 0x3d, 0x0a],
    );
    const capability = xattrs?.get(textToByteString("security.capability"));
    assert.equal(capability?.length, 20);
    assert.equal(capability?.[3], 2); // VFS_CAP_REVISION_2
  });

  it("TarReader keeps names that are no UTF-8", () => {
    const dir = join(base, "latin1");
    mkdirSync(dir);
    execFileSync("bash", ["-ec", "echo x > $'caf\\xe9'"], { cwd: dir });
    for (const format of ["gnu", "posix", "ustar"]) {
      const bytes = execFileSync("tar", [`--format=${format}`, "-cf", "-", "."], { cwd: dir });
      assert.ok([...collectTar(bytes).values()].some((item) => item.entry.path === "./caf\xe9"));
    }
  });

  it("TarReader lets local PAX records win over global ones, and both over the header", () => {
    const g = Buffer.from("16 mtime=1000.5\n17 comment=hello\n13 uid=77777\n");
    const x = Buffer.from("13 uid=88888\n");
    const bytes = Buffer.concat([
      raw("g", g),
      record({ type: "file", path: name("a"), uid: 5 }),
      raw("x", x),
      record({ type: "file", path: name("b"), uid: 5 }),
      endOfArchive,
    ]);
    const entries = collectTar(bytes);
    assert.equal(entries.get("a")?.entry.uid, 77777);
    assert.equal(entries.get("b")?.entry.uid, 88888);
    assert.equal(entries.get("b")?.entry.mtimeNanoseconds, 500000000);
  });

  it("encodeEntry() writes what GNU tar and TarReader read back", () => {
    const records: TarRecord[] = [
      { type: "directory", path: name("d"), mode: 0o1777, mtimeSeconds: 5 },
      {
        type: "file",
        path: name(`d/${long}`),
        mode: 0o4711,
        uid: 9_000_000,
        gid: 4_000_000_000,
        mtimeSeconds: -2,
        mtimeNanoseconds: 5e8,
        sizeBytes: 3,
        xattrs: new Map([[name("user.x"), Uint8Array.of(0, 255, 10)]]),
      },
      { type: "symlink", path: name("d/l"), linkPath: name(`${long}${long}`) },
      { type: "hardlink", path: name("d/h"), linkPath: name(`d/${long}`) },
      { type: "character", path: name("d/c"), devMajor: 1, devMinor: 3 },
      { type: "file", path: textToByteString("d/é"), mtimeSeconds: 1, mtimeNanoseconds: 1 },
    ];
    const bytes = Buffer.concat([
      ...records.map((item) => record(item, item.sizeBytes ? "abc" : "")),
      endOfArchive,
    ]);
    const entries = [...collectTar(bytes).values()];
    assert.equal(entries.length, records.length);
    for (const [i, wanted] of records.entries()) {
      const got = entries[i]?.entry;
      for (const [key, value] of Object.entries(wanted))
        assert.deepEqual(got?.[key as keyof typeof got], value, `${i} ${key}`);
    }
    writeFileSync(join(base, "own.tar"), bytes);
    const listed = execFileSync("tar", ["--numeric-owner", "-tvf", join(base, "own.tar")], {
      env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
    }).toString();
    assert.match(listed, /drwxrwxrwt 0\/0 +0 1970-01-01 00:00 d\//);
    assert.match(listed, /-rws--x--x 9000000\/4000000000 +3 1969-12-31 23:59 d\/long/);
    assert.match(listed, /crw-r--r-- 0\/0 +1,3 /);
  });

  const file = (patch: (block: Buffer) => void, sum = true) => {
    const block = Buffer.from(encodeEntry({ type: "file", path: name("victim"), sizeBytes: 3 }));
    patch(block);
    if (sum) checksum(block);
    return Buffer.concat([block, Buffer.from("abc"), padding(3), endOfArchive]);
  };
  const bad: readonly (readonly [string, () => Buffer, RegExp])[] = [
    ["a wrong checksum", () => file((b) => b.fill(0x37, 100, 104), false), /checksum/],
    ["text instead of a tar", () => Buffer.from("<html>Not found</html>".repeat(100)), /checksum/],
    ["a mode that is no number", () => file((b) => b.write("99zz", 100)), /mode is no octal/],
    ["a negative size", () => file((b) => b.fill(0xff, 124, 136)), /size is negative/],
    [
      "a size beyond 2^53",
      () => file((b) => b.fill(0x80, 124, 125).fill(0xff, 126, 136)),
      /53 bits/,
    ],
    ["an empty name", () => file((b) => b.fill(0, 0, 100)), /name is empty/],
    ["an unknown type", () => file((b) => b.write("M", 156)), /type is "M"/],
    ["a uid of -1", () => file((b) => b.fill(0xff, 108, 116)), /uid is -1/],
    ["a body that is cut", () => file(() => {}).subarray(0, 514), /truncated at byte 514/],
    ["a header that is cut", () => file(() => {}).subarray(0, 100), /truncated at byte 100/],
    ["a lying size", () => file((b) => b.write("00000007777\0", 124)), /truncated/],
    [
      "a symlink without target",
      () => file((b) => b.write("2", 156).toString()),
      /link target is empty/,
    ],
    [
      "a PAX record longer than its header",
      () => Buffer.concat([raw("x", Buffer.from("99 path=a\n")), file(() => {})]),
      /damaged PAX/,
    ],
    [
      "a PAX record without length",
      () => Buffer.concat([raw("x", Buffer.from("path=a\n")), file(() => {})]),
      /damaged PAX/,
    ],
    [
      "a PAX record without newline",
      () => Buffer.concat([raw("x", Buffer.from("9 path=ab")), file(() => {})]),
      /damaged PAX/,
    ],
    [
      "a PAX name with a NUL",
      () => Buffer.concat([raw("x", Buffer.from("12 path=a\0b\n")), file(() => {})]),
      /NUL/,
    ],
    [
      "a PAX size that is no number",
      () => Buffer.concat([raw("x", Buffer.from("11 size=1x\n")), file(() => {})]),
      /PAX size/,
    ],
    [
      "a PAX header without entry",
      () => Buffer.concat([raw("x", Buffer.from("10 path=a\n")), endOfArchive]),
      /no entry/,
    ],
    [
      "a lone zero block",
      () => Buffer.concat([Buffer.alloc(512), file(() => {})]),
      /lone zero block/,
    ],
    [
      "overlapping sparse extents",
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "0,2,1,1", "GNU.sparse.size": "9" })),
          file(() => {}),
        ]),
      /overlaps/,
    ],
    [
      "sparse extents outside the file",
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "8,3", "GNU.sparse.size": "9" })),
          file(() => {}),
        ]),
      /leaves the file/,
    ],
    [
      "sparse extents that do not fill the body",
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "0,2", "GNU.sparse.size": "9" })),
          file(() => {}),
        ]),
      /hold 2 bytes, its body 3/,
    ],
    [
      "sparse numbers without partner",
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "0,2,5", "GNU.sparse.size": "9" })),
          file(() => {}),
        ]),
      /pair up/,
    ],
    [
      "a sparse map longer than its body",
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.major": "1", "GNU.sparse.realsize": "9" })),
          file(() => {}),
        ]),
      /longer than its body/,
    ],
  ];
  for (const [why, make, pattern] of bad)
    it(`TarReader refuses ${why}`, () => {
      assert.throws(
        () => collectTar(make()),
        (error: unknown) => error instanceof LayerError && pattern.test(error.message),
      );
    });

  const over: readonly (readonly [string, object, () => Buffer])[] = [
    [
      "maxEntries",
      { maxEntries: 2 },
      () => Buffer.concat([1, 2, 3].map((i) => record({ type: "fifo", path: name(`${i}`) }))),
    ],
    [
      "maxPathBytes",
      { maxPathBytes: 50 },
      () => record({ type: "fifo", path: name("x".repeat(51)) }),
    ],
    ["maxMetadataBytes", { maxMetadataBytes: 100 }, () => raw("x", Buffer.alloc(101))],
    [
      "maxSparseExtents",
      { maxSparseExtents: 2 },
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "0,1,2,1,4,1", "GNU.sparse.size": "9" })),
          file(() => {}),
        ]),
    ],
    [
      "maxFileBytes",
      { maxFileBytes: 10 },
      () =>
        Buffer.concat([
          raw("x", pax({ "GNU.sparse.map": "0,3", "GNU.sparse.size": "11" })),
          file(() => {}),
        ]),
    ],
    [
      "maxExpandedBytes",
      { maxExpandedBytes: 10_000_000 },
      () => encodeEntry({ type: "file", path: name("big"), sizeBytes: 1e10 }) as Buffer,
    ],
    [
      "maxTrailerBytes",
      { maxTrailerBytes: 1024 },
      () => Buffer.concat([endOfArchive, Buffer.alloc(1025)]),
    ],
  ];
  for (const [limit, limits, make] of over)
    it(`TarReader keeps to ${limit}`, () => {
      assert.throws(
        () => collectTar(make(), undefined, limits),
        (error: unknown) => error instanceof LimitError && error.limit === limit,
      );
    });

  it("TarReader survives damaged archives with nothing but LayerError (fuzz)", () => {
    const seed = Number(process.env["FUZZ_SEED"] ?? 20261122);
    const rounds = Number(process.env["FUZZ_ROUNDS"] ?? 120);
    const random = seededRandom(seed);
    const pick = (n: number) => Math.floor(random() * n);
    const args = ["--exclude=./sub", "--sparse", "--hole-detection=raw", "--xattrs"];
    const sources = [
      tar("--format=gnu", ...args),
      tar("--format=posix", ...args),
      tar("--format=posix", "--sparse-version=0.1", ...args),
    ];
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const source = sources[pick(sources.length)] ?? Buffer.alloc(0);
      const bytes = Buffer.from(
        source.subarray(0, pick(3) === 0 ? pick(source.length) : source.length),
      );
      for (let i = pick(12); i >= 0; i--) {
        const at = pick(bytes.length);
        bytes[at] = pick(256);
        // Half of the damage gets past the checksum.
        const block = bytes.subarray(at - (at % 512), at - (at % 512) + 512);
        if (block.length === 512 && pick(2) === 0) checksum(block);
      }
      try {
        const reader = new TarReader(new Collector(), { ...limitsForFuzz });
        for (let at = 0; at < bytes.length; at += 4096) reader.push(bytes.subarray(at, at + 4096));
        reader.finish();
      } catch (error) {
        assert.ok(
          error instanceof LayerError,
          `seed ${seed} round ${round}: ${(error as Error).stack}`,
        );
        refused++;
      }
    }
    assert.ok(refused > rounds / 10, `only ${refused} of ${rounds} were refused`);
  }).timeout(60_000);
});

const limitsForFuzz = { ...defaultLayerLimits, maxExpandedBytes: 1 << 30 };

const name = textToByteString;
function record(item: TarRecord, content = ""): Buffer {
  return Buffer.concat([
    encodeEntry({ ...item, sizeBytes: content.length }),
    Buffer.from(content),
    padding(content.length),
  ]);
}
function raw(type: string, body: Buffer): Buffer {
  const block = Buffer.from(encodeEntry({ type: "file", path: name("x"), sizeBytes: body.length }));
  block.write(type, 156);
  checksum(block);
  return Buffer.concat([block, body, padding(body.length)]);
}
function pax(records: Record<string, string>): Buffer {
  return Buffer.from(
    Object.entries(records)
      .map(([key, value]) => {
        const rest = key.length + value.length + 3;
        const length = rest + 2 >= 100 ? rest + 3 : rest >= 8 ? rest + 2 : rest + 1;
        return `${length} ${key}=${value}\n`;
      })
      .join(""),
  );
}
function checksum(block: Uint8Array): void {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (let i = 0; i < 512; i++) sum += block[i] ?? 0;
  Buffer.from(block.buffer, block.byteOffset, 512).write(
    `${sum.toString(8).padStart(6, "0")}\0 `,
    148,
  );
}
