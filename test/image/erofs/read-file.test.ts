import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bufferedImageFile, ErofsBuilder, ErofsReader } from "../../../image/erofs/index.ts";
import { TarReader } from "../../../image/tar/reader.ts";

const MAX = 1 << 20;
const tree = `
  mkdir -p etc usr/share/accounts many loop
  echo root:x:0:0 > etc/passwd
  head -c 10000 /dev/zero | tr '\\0' x > usr/share/accounts/large
  echo tail >> usr/share/accounts/large
  head -c 8192 /dev/zero | tr '\\0' y > usr/share/accounts/blocks
  : > usr/share/accounts/empty
  truncate -s 300000 usr/share/accounts/sparse; echo end >> usr/share/accounts/sparse
  ln -s ../usr/share/accounts/large etc/relative
  ln -s /etc/passwd etc/absolute
  ln -s /etc usr/share/up
  ln -s ../../../../../etc/passwd etc/above
  ln -s b loop/a; ln -s a loop/b
  for i in $(seq 500); do echo $i > many/file-with-a-long-name-so-that-the-directory-has-blocks-$i; done`;

describe("ErofsReader", () => {
  let folder: string;
  let image: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-erofs-read-"));
    image = join(folder, "image.erofs");
    execFileSync("bash", ["-euc", `mkdir tree; cd tree; ${tree}`], { cwd: folder });
    const tar = execFileSync("tar", ["-C", join(folder, "tree"), "-cS", "."], {
      maxBuffer: 1 << 26,
    });
    const fd = openSync(image, "w");
    const builder = new ErofsBuilder(bufferedImageFile(fd));
    builder.beginLayer();
    const reader = new TarReader(builder);
    reader.push(tar);
    reader.finish();
    builder.finish("test");
    closeSync(fd);
  });
  after(() => rmSync(folder, { recursive: true }));

  for (const [why, path, real] of [
    ["a small file, kept beside its inode", "/etc/passwd", "etc/passwd"],
    ["a file of blocks and a tail", "/usr/share/accounts/large", "usr/share/accounts/large"],
    ["a file of whole blocks", "usr/share/accounts/blocks", "usr/share/accounts/blocks"],
    ["an empty file", "/usr/share/accounts/empty", "usr/share/accounts/empty"],
    ["a sparse file", "/usr/share/accounts/sparse", "usr/share/accounts/sparse"],
    ["what a relative link leads to", "/etc/relative", "usr/share/accounts/large"],
    ["what an absolute link leads to, in the image", "/etc/absolute", "etc/passwd"],
    ["a file behind a link to a directory", "/usr/share/up/passwd", "etc/passwd"],
    ["what lies above the root: the root", "/etc/above", "etc/passwd"],
    [
      "one of many",
      "/many/file-with-a-long-name-so-that-the-directory-has-blocks-417",
      "many/file-with-a-long-name-so-that-the-directory-has-blocks-417",
    ],
  ] as const)
    it(`reads ${why}`, () => {
      using reader = new ErofsReader(image);
      assert.ok(reader.readFile(path, MAX)?.equals(readFileSync(join(folder, "tree", real))));
      assert.equal(reader.locate(path), `/${real}`);
    });

  for (const [why, path] of [
    ["nothing is there", "/etc/shadow"],
    ["a file is no directory", "/etc/passwd/x"],
    ["links lead in a circle", "/loop/a"],
    ["it is a directory", "/etc"],
  ] as const)
    it(`reads nothing when ${why}`, () => {
      using reader = new ErofsReader(image);
      assert.equal(reader.readFile(path, MAX), undefined);
    });

  it("reads no more than it is asked for", () => {
    using reader = new ErofsReader(image);
    assert.equal(reader.readFile("/usr/share/accounts/large", 100)?.length, 100);
  });

  it("ends with an error or nothing on damaged images, never hangs (fuzz)", () => {
    const good = readFileSync(image);
    const damaged = join(folder, "damaged");
    let state = 12345;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state % below;
    };
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(good);
      // The superblock, and the metadata at the end: where the numbers are.
      for (let i = 0; i < 20; i++) {
        const at = random(2) === 0 ? 1024 + random(128) : bytes.length - 1 - random(120_000);
        if (at >= 0) bytes[at] = random(256);
      }
      writeFileSync(damaged, bytes);
      try {
        using reader = new ErofsReader(damaged);
        for (const path of ["/etc/passwd", "/usr/share/up/passwd", "/usr/share/accounts/sparse"])
          reader.readFile(path, MAX);
      } catch (error) {
        assert.match(String(error), /EROFS image/);
      }
    }
  });
});
