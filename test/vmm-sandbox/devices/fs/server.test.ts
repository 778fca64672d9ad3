import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { errnos } from "../../../../linux/index.ts";
import * as abi from "../../../../vmm-sandbox/devices/fs/abi.ts";
import { FuseServer } from "../../../../vmm-sandbox/devices/fs/server.ts";

const child = fileURLToPath(new URL("./serve-fuse.ts", import.meta.url));
const sh = (script: string, cwd: string) =>
  execFileSync("bash", ["-euc", script], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });

describe("virtio-fs server under the host's kernel (needs root and /dev/fuse)", function () {
  this.timeout(30_000);
  let folder: string;
  let source: string;
  let mount: string;
  let server: ChildProcess;

  before(function () {
    if (process.getuid?.() !== 0 || !existsSync("/dev/fuse")) this.skip();
  });

  const start = async (mode: "rw" | "ro") => {
    server = spawn(process.execPath, ["--import", "tsx", child, source, mount, mode], {
      stdio: "inherit",
    });
    const deadline = Date.now() + 15_000;
    while (!readFileSync("/proc/mounts", "utf8").includes(mount)) {
      assert.ok(Date.now() < deadline, "the server did not mount");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-fuse-"));
    source = join(folder, "source");
    mount = join(folder, "mount");
    mkdirSync(source);
    mkdirSync(mount);
  });
  afterEach(async () => {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    if (server.exitCode === null) {
      sh(`umount ${mount}`, folder);
      await ended;
    }
    rmSync(folder, { recursive: true });
  });

  it("serves every kind of file and attribute, both ways", async () => {
    await start("rw");
    sh(
      `cd source; mkdir -p a/b; echo one > a/one; ln a/one a/hard; ln -s one a/link; mkfifo a/fifo; mknod a/null c 1 3
       head -c 3000000 /dev/urandom > a/b/large; chmod 640 a/one; chown 12:34 a/one; touch -d '2001-02-03 04:05:06.789' a/one
       setfattr -n user.colour -v blue a/one; truncate -s 100M a/sparse`,
      folder,
    );
    const listing = "find . -printf '%p %y %m %U %G %s %T@ %n %l\\n' | sort";
    assert.equal(sh(listing, mount), sh(listing, source));
    assert.equal(sh("getfattr --only-values -n user.colour a/one", mount), "blue");
    sh("cmp mount/a/b/large source/a/b/large", folder);
    sh(
      "rm source/a/null; cp -a mount/a mount/copy && diff -r --no-dereference --exclude=fifo source/a source/copy",
      folder,
    );
    const attributes = "find . -printf '%p %y %m %U %G %T@ %l\\n' | sort";
    assert.equal(sh(attributes, join(source, "copy")), sh(attributes, join(source, "a")));
    assert.ok(Number(sh("du -k source/copy/sparse | cut -f1", folder)) < 1000);
  });

  it("creates, renames, links, truncates and removes", async () => {
    await start("rw");
    const output = sh(
      `echo hello > f; echo more >> f; cat f; mv f g; mkdir d; mv g d/h; ln d/h i; stat -c %h i; truncate -s 3 i; cat d/h; echo
       ln -s d/h s; readlink s; cat s; echo; exec 3<i; rm i d/h; cat <&3; echo; exec 3<&-; rmdir d; ls; rm s; ls -A | wc -l
       set -o noclobber; echo a > x; (echo b > x) 2>/dev/null || echo refused; fallocate -l 8192 x; stat -c %s x`,
      mount,
    );
    assert.equal(output, "hello\nmore\n2\nhel\nd/h\nhel\nhel\ns\n0\nrefused\n8192\n");
  });

  it("what a user creates belongs to that user, and permissions hold", async () => {
    sh(
      "mkdir source/shared source/private; chmod 777 source/shared; chmod 700 source/private; echo x > source/private/f; chmod 755 .",
      folder,
    );
    await start("rw");
    sh(
      "setpriv --reuid=1234 --regid=2345 --clear-groups sh -c 'echo mine > shared/file; mkdir shared/dir'",
      mount,
    );
    assert.equal(sh("stat -c '%u:%g' shared/file shared/dir", source), "1234:2345\n1234:2345\n");
    assert.throws(
      () => sh("setpriv --reuid=1234 --regid=2345 --clear-groups cat private/f", mount),
      /Permission denied/,
    );
  });

  it("lists and finds thousands of names", async () => {
    sh("cd source; for i in $(seq 3000); do : > file-with-a-rather-long-name-$i; done", folder);
    await start("rw");
    assert.equal(
      sh("ls | wc -l; ls -l | wc -l; ls file-with-a-rather-long-name-2999", mount),
      "3000\n3001\nfile-with-a-rather-long-name-2999\n",
    );
    sh('rm file-*; test -z "$(ls -A)"', mount);
  });

  it("follows changes that the host makes", async () => {
    await start("rw");
    sh("cat mount/new 2>/dev/null || true; echo host > source/new", folder);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.equal(sh("cat mount/new", folder), "host\n");
  });

  it("a symlink leads where the guest's paths lead, not the host's", async () => {
    writeFileSync(join(folder, "secret"), "host secret");
    symlinkSync("../secret", join(source, "up"));
    await start("rw");
    assert.equal(sh("readlink up", mount), "../secret\n");
  });

  it("a read-only export can be read and nothing else", async () => {
    sh("echo x > source/f; mkdir source/d", folder);
    await start("ro");
    assert.equal(sh("cat f", mount), "x\n");
    for (const script of [
      "echo y > f",
      "echo y >> f",
      "touch g",
      "mkdir e",
      "rm f",
      "rmdir d",
      "mv f g",
      "ln f g",
      "ln -s f g",
      "chmod 600 f",
      "chown 1 f",
      "truncate -s 0 f",
      "setfattr -n user.x -v 1 f",
      "mkfifo p",
    ])
      assert.throws(() => sh(script, mount), /Read-only file system/, script);
  });
});

describe("virtio-fs server against hostile requests", () => {
  let folder: string;
  let server: FuseServer;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "manyworlds-fuse-"));
    mkdirSync(join(folder, "export/sub"), { recursive: true });
    writeFileSync(join(folder, "secret"), "secret");
    writeFileSync(join(folder, "export/file"), "content");
    symlinkSync("../secret", join(folder, "export/link"));
    server = new FuseServer({ path: join(folder, "export"), readOnly: false });
  });
  afterEach(() => {
    server[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  const ask = (opcode: abi.Opcode | number, body: Uint8Array, nodeid = abi.ROOT_ID) => {
    const number = typeof opcode === "number" ? opcode : abi.opcodes[opcode];
    const len = abi.in_header.sizeBytes + body.length;
    const header = abi.in_header.encode({ len, opcode: number, unique: 7, nodeid });
    const reply = server.handle(Buffer.concat([header, body]));
    return reply === undefined
      ? undefined
      : { ...abi.out_header.decode(reply), data: reply.subarray(16) };
  };
  const lookUp = (name: string) => ask("LOOKUP", Buffer.from(`${name}\0`));

  for (const name of ["..", ".", "", "sub/../..", "/etc", "sub/x", "x".repeat(256)])
    it(`refuses the name "${name.slice(0, 20)}"`, () => {
      const expected = name.length > 255 ? "ENAMETOOLONG" : "EINVAL";
      assert.equal(lookUp(name)?.error, -errnos[expected][0]);
      for (const opcode of ["UNLINK", "RMDIR"] as const)
        assert.equal(ask(opcode, Buffer.from(`${name}\0`))?.error, -errnos[expected][0]);
    });

  it("does not follow a symlink to open it", () => {
    const found = lookUp("link");
    assert.equal(found?.error, 0);
    const nodeid = Number(abi.entry_out.decode(found?.data ?? new Uint8Array()).nodeid);
    assert.equal(ask("OPEN", abi.open_in.encode({ flags: 0 }), nodeid)?.error, -errnos.ELOOP[0]);
    const create = Buffer.concat([
      abi.create_in.encode({ flags: 1, mode: 0o644 }),
      Buffer.from("link\0"),
    ]);
    assert.equal(ask("CREATE", create)?.error, -errnos.ELOOP[0]);
    assert.equal(readFileSync(join(folder, "secret"), "utf8"), "secret");
  });

  it("opens and makes no devices, whatever a guest's kernel would do with them itself", function () {
    if (process.getuid?.() !== 0) this.skip();
    sh("mkfifo fifo; mknod zero c 1 5", join(folder, "export"));
    for (const name of ["zero", "fifo"]) {
      const found = lookUp(name);
      const nodeid = Number(abi.entry_out.decode(found?.data ?? new Uint8Array()).nodeid);
      assert.equal(ask("OPEN", abi.open_in.encode({ flags: 0 }), nodeid)?.error, -errnos.EACCES[0]);
      const create = Buffer.concat([abi.create_in.encode({ flags: 1 }), Buffer.from(`${name}\0`)]);
      assert.equal(ask("CREATE", create)?.error, -errnos.EACCES[0]);
    }
    const device = abi.mknod_in.encode({ mode: 0o060600, rdev: 0x800 });
    const made = ask("MKNOD", Buffer.concat([device, Buffer.from("sda\0")]));
    assert.equal(made?.error, -errnos.EPERM[0]);
  });

  it("unknown inodes, handles, operations and lengths are errors", () => {
    assert.equal(ask("GETATTR", new Uint8Array(16), 999)?.error, -errnos.ESTALE[0]);
    assert.equal(ask("READ", abi.read_in.encode({ fh: 5, size: 4096 }))?.error, -errnos.EBADF[0]);
    assert.equal(ask(4711, new Uint8Array(8))?.error, -errnos.ENOSYS[0]);
    assert.equal(ask("SETATTR", new Uint8Array(3))?.error, -errnos.EINVAL[0]);
    assert.equal(ask("LOOKUP", Buffer.from("no end"))?.error, -errnos.EINVAL[0]);
    assert.equal(server.handle(new Uint8Array(10)), undefined);
  });

  it("a file handle is no directory handle", () => {
    const opened = ask("OPENDIR", abi.open_in.encode({ flags: 0 }));
    const { fh } = abi.open_out.decode(opened?.data ?? new Uint8Array());
    assert.equal(ask("READ", abi.read_in.encode({ fh, size: 4096 }))?.error, -errnos.EBADF[0]);
  });

  it("what the guest holds is bounded, and gone after a reset", () => {
    const before = server.openDescriptors;
    for (let count = 0; count < 5000; count++) ask("OPENDIR", abi.open_in.encode({ flags: 0 }));
    const refused = ask("OPENDIR", abi.open_in.encode({ flags: 0 }));
    assert.equal(refused?.error, -errnos.ENFILE[0]);
    server.reset();
    assert.equal(server.openDescriptors, before);
    assert.equal(lookUp("file")?.error, 0);
  });

  it("survives 20,000 random requests and stays inside (seed 1)", function () {
    this.timeout(60_000);
    let state = 1;
    const random = (limit: number) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state % limit;
    };
    const codes = Object.values(abi.opcodes);
    const words = ["file\0", "sub\0", "link\0", "new\0", "..\0", "a/b\0", "\0", "user.x\0value"];
    for (let count = 0; count < 20_000; count++) {
      const fixed = Uint8Array.from({ length: random(96) }, () =>
        random(4) === 0 ? random(256) : 0,
      );
      const text = Buffer.from(
        Array.from({ length: random(3) }, () => words[random(words.length)]).join(""),
      );
      ask(codes[random(codes.length)] ?? 1, Buffer.concat([fixed, text]), random(6));
    }
    assert.equal(readFileSync(join(folder, "secret"), "utf8"), "secret");
  });
});
