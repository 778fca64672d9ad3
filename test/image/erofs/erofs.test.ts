import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bufferedImageFile, ErofsBuilder } from "../../../image/erofs/index.ts";
import { TarReader } from "../../../image/tar/reader.ts";

const sh = (script: string, cwd: string) =>
  execFileSync("bash", ["-euc", script], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

/** Type, mode, owner, size (of files), mtime, links, link target and name of everything below. */
const listing = (folder: string) =>
  sh(
    "find . ! -type d -printf '%p %y %m %U %G %s %T@ %n %l\\n' -o -printf '%p d %m %U %G %T@ %n\\n' | sort",
    folder,
  );

/** Builds an image from tars, lowest first, mounts it and hands the mount point over. */
function withImage(folder: string, tars: readonly string[], look: (mount: string) => void): void {
  const path = join(folder, "image.erofs");
  const fd = openSync(path, "w");
  try {
    const builder = new ErofsBuilder(bufferedImageFile(fd));
    for (const tar of [...tars].reverse()) {
      builder.beginLayer();
      const reader = new TarReader(builder);
      const bytes = readFileSync(tar);
      for (let at = 0; at < bytes.length; at += 10_007)
        reader.push(bytes.subarray(at, at + 10_007));
      reader.finish();
    }
    builder.finish("test");
  } finally {
    closeSync(fd);
  }
  assert.match(sh(`fsck.erofs -d3 ${path} 2>&1`, folder), /No errors? found/);
  const mount = join(folder, "mount");
  mkdirSync(mount, { recursive: true });
  sh(`mount -t erofs -o ro,loop ${path} ${mount}`, folder);
  try {
    look(mount);
  } finally {
    sh(`umount ${mount}`, folder);
  }
}

describe("image/erofs (needs root: loop mounts)", function () {
  this.timeout(60_000);
  let folder: string;

  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-erofs-"));
    sh("mkdir tree", folder);
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Fills `tree` by a script and packs it. */
  const pack = (name: string, script: string) => {
    sh(`mkdir -p ${name} && cd ${name} && ${script}`, folder);
    const tar = join(folder, `${name}.tar`);
    sh(`tar --xattrs --xattrs-include='*' -S --format=posix -C ${name} -cf ${tar} .`, folder);
    return tar;
  };

  it("keeps every kind of file with all its attributes", () => {
    const tar = pack(
      "tree",
      `mkdir -p etc dev usr/bin; echo hello > etc/hello; ln -s hello etc/link; ln etc/hello etc/hard
       mknod dev/null c 1 3; mknod dev/big b 259 70000; mkfifo fifo
       for size in 1 2047 2048 2049 4095 4096 4097 6143 6144 6145 1000000; do head -c $size /dev/urandom > of-$size; done
       cp /bin/true usr/bin/; setcap cap_net_raw=ep usr/bin/true
       setfattr -n user.long -v "$(head -c 3000 /dev/zero | tr '\\0' y)" of-2048
       chown 100000:70000 of-4096; chmod 6755 of-4096; touch -d '1999-01-01 00:00:00.123456789' of-4096
       ln -s "$(head -c 4000 /dev/zero | tr '\\0' z)" longlink
       mkdir 'name with ü and '$'\\xff'; chmod 1777 dev`,
    );
    withImage(folder, [tar], (mount) => {
      assert.equal(listing(mount), listing(join(folder, "tree")));
      sh(`find . -type f | while read -r f; do cmp "$f" "${mount}/$f"; done`, join(folder, "tree"));
      const attributes = "find . -type f -exec getfattr -d -m - -e hex {} + | sort";
      assert.equal(sh(attributes, mount), sh(attributes, join(folder, "tree")));
      assert.equal(sh("stat -c '%t:%T' dev/*", mount), "103:11170\n1:3\n");
    });
  });

  it("finds each of many names in large directories", () => {
    const tar = pack(
      "tree",
      "mkdir many; cd many; for i in $(seq 2500); do echo $i > some-file-$i; done",
    );
    withImage(folder, [tar], (mount) => {
      assert.equal(sh("ls many | wc -l", mount).trim(), "2500");
      for (const number of [1, 42, 999, 1000, 2500])
        assert.equal(readFileSync(join(mount, `many/some-file-${number}`), "utf8"), `${number}\n`);
      assert.throws(() => readFileSync(join(mount, "many/some-file-2501")), /ENOENT/);
    });
  });

  it("gives holes no space", () => {
    const tar = pack(
      "tree",
      "truncate -s 500M sparse; printf end | dd of=sparse bs=1 seek=300000000 conv=notrunc status=none",
    );
    withImage(folder, [tar], (mount) => {
      sh(`cmp tree/sparse ${mount}/sparse`, folder);
      assert.ok(Number(sh("stat -c %s image.erofs", folder)) < 2_000_000);
    });
  });

  it("merges layers: replaced, removed, opaque, brought back", () => {
    const base = pack(
      "base",
      `mkdir -p a/deep opaque/x removed/y back; echo base > a/replaced; echo base > a/kept; echo base > a/deep/kept
       echo base > opaque/old; echo base > opaque/x/old; echo base > removed/y/file; echo base > back/old
       echo base > turns-into-directory; mkdir turns-into-file; echo x > turns-into-file/x
       echo linked > original; ln original partner; chmod 700 a; ln -s a/kept to-file`,
    );
    const middle = pack(
      "middle",
      `mkdir -p a opaque turns-into-directory; chmod 711 a; echo middle > a/replaced; : > .wh.removed; : > .wh.back
       : > opaque/.wh..wh..opq; echo middle > opaque/new; echo middle > turns-into-directory/file
       echo middle > turns-into-file; echo middle > twice; : > a/.wh.nothing`,
    );
    const top = pack(
      "top",
      "mkdir -p a back; chmod 750 a; echo top > back/new; : > .wh.twice; : > .wh.original; : > a/.wh.replaced; rm -rf a/deep",
    );
    withImage(folder, [base, middle, top], (mount) => {
      const content = sh(
        "find . -type f | sort | while read -r f; do echo $f $(cat $f); done",
        mount,
      );
      const expected = `./a/deep/kept base
./a/kept base
./back/new top
./opaque/new middle
./partner linked
./turns-into-directory/file middle
./turns-into-file middle
`;
      assert.equal(content, expected);
      assert.equal(sh("stat -c '%a %h' a", mount).trim(), "750 3");
      assert.equal(sh("stat -c '%h' partner", mount).trim(), "1");
      assert.equal(sh("cat to-file", mount), "base\n");
    });
  });

  it("links to a file of a lower layer", () => {
    const base = pack("base", "echo one > original");
    sh(
      "mkdir top; cp base/original top/; ln top/original top/second; tar -C top -cf top.tar ./original ./second",
      folder,
    );
    sh("tar --delete -f top.tar ./original", folder);
    withImage(folder, [base, join(folder, "top.tar")], (mount) => {
      assert.equal(sh("stat -c '%h' original second", mount), "2\n2\n");
    });
  });

  it("the same layers give the same bytes", () => {
    const tar = pack("tree", "echo a > a; mkdir b; echo c > b/c");
    const digests = [1, 2].map(() => {
      let digest = "";
      withImage(folder, [tar], () => {
        digest = sh("sha256sum image.erofs", folder);
      });
      return digest;
    });
    assert.equal(digests[0], digests[1]);
  });

  for (const [why, script] of [
    ["a path that leaves the root", "echo x > f; tar -P --transform 's,f,../f,' -cf bad.tar f"],
    [
      "a hard link that leads nowhere",
      "echo x > f; ln f g; tar -cf bad.tar f g; tar --delete -f bad.tar f",
    ],
    [
      "something below a file",
      "mkdir d; echo x > d/f; tar --transform 's,^d$,d,' --no-recursion -cf bad.tar d/f; rm -r d; echo f > d; tar -rf bad.tar d; mkdir e; tar -cf first.tar d; tar -Af first.tar bad.tar; mv first.tar bad.tar",
    ],
  ] as const)
    it(`refuses ${why}`, () => {
      sh(script, folder);
      assert.throws(
        () => withImage(folder, [join(folder, "bad.tar")], () => undefined),
        /^LayerError/,
      );
    });
});
