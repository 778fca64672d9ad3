/** Serves a directory to the host's own kernel through /dev/fuse: argv is directory, mount point. */
import { call, Fd, MS_NODEV, MS_NOSUID, syscall } from "../../../../linux/index.ts";
import { MAX_TRANSFER_BYTES } from "../../../../vmm-sandbox/devices/fs/files.ts";
import { FuseServer } from "../../../../vmm-sandbox/devices/fs/server.ts";

const [, , path = "", mount = "", mode = "rw"] = process.argv;
using server = new FuseServer({ path, readOnly: mode === "ro" });
using device = Fd.from("openat", -100, "/dev/fuse", 0o2000002);
const options = `fd=${device.number},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`;
call("mount", "manyworlds", mount, "fuse", MS_NODEV | MS_NOSUID, options);
const buffer = new Uint8Array(MAX_TRANSFER_BYTES + 8192);
for (;;) {
  const count = syscall("read", device, buffer, buffer.length);
  if (count === -4 || count === -11 || count === -2) continue; // EINTR, EAGAIN, ENOENT: go on
  if (count < 0) break; // ENODEV: unmounted
  const reply = server.handle(buffer.slice(0, count));
  // ENOENT: the request was interrupted and nobody waits for the answer any more.
  if (reply !== undefined) syscall("write", device, reply, reply.length);
}
