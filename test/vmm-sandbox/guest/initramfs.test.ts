import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeInitramfs } from "../../../vmm-sandbox/guest/initramfs.ts";
import { MissingModuleError, planModules } from "../../../vmm-sandbox/guest/kernel-modules.ts";

describe("vmm-sandbox/guest initramfs", () => {
  it("is what cpio reads", () => {
    const folder = mkdtempSync(join(tmpdir(), "manyworlds-cpio-"));
    try {
      const archive = encodeInitramfs([
        { path: "dev", type: "directory", mode: 0o711 },
        { path: "/dev/file", type: "file", data: Buffer.from("hello"), mode: 0o750 },
        { path: "empty", type: "file", data: new Uint8Array(0) },
        { path: "link", type: "symlink", target: "dev/file" },
      ]);
      execFileSync("cpio", ["-idm", "--quiet"], { cwd: folder, input: archive });
      assert.equal(readFileSync(join(folder, "link"), "utf8"), "hello");
      assert.equal(readlinkSync(join(folder, "link")), "dev/file");
      assert.equal(statSync(join(folder, "dev/file")).mode & 0o7777, 0o750);
      assert.equal(statSync(join(folder, "dev")).mode & 0o7777, 0o711);
      assert.equal(statSync(join(folder, "empty")).size, 0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("lists devices with their numbers", () => {
    const console = { path: "console", type: "character", major: 5, minor: 1 } as const;
    const listing = execFileSync("cpio", ["-itv", "--quiet"], {
      input: encodeInitramfs([console]),
    });
    assert.match(listing.toString(), /^crw-------\s.*\s5,\s+1\s.*console$/m);
  });

  it("refuses a name that the kernel would refuse", () => {
    for (const path of ["", "x".repeat(4096)])
      assert.throws(() => encodeInitramfs([{ path, type: "directory" }]), RangeError);
  });
});

describe("vmm-sandbox/guest modules", () => {
  const dependencies = `kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2.ko
kernel/fs/jbd2.ko:
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/drivers/virtio-blk.ko.xz: kernel/drivers/virtio.ko
kernel/drivers/virtio.ko:
`;

  it("come after what they need, each once", () => {
    assert.deepEqual(planModules(["ext4", "virtio_blk", "jbd2"], dependencies, ""), [
      "kernel/fs/jbd2.ko",
      "kernel/fs/mbcache.ko",
      "kernel/lib/crc16.ko",
      "kernel/fs/ext4/ext4.ko",
      "kernel/drivers/virtio.ko",
      "kernel/drivers/virtio-blk.ko.xz",
    ]);
  });

  it("that are built in are left out, unknown ones are named", () => {
    assert.deepEqual(planModules(["vsock"], dependencies, "kernel/net/vsock.ko\n"), []);
    assert.throws(() => planModules(["nope"], dependencies, ""), MissingModuleError);
  });
});
