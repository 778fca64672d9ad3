/** Both kernels and all their forms boot to our agent, on KVM. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  boot,
  kernels,
  MiB,
  mountKernelFiles,
  runShell,
  skipWithout,
  withFolder,
} from "./guests.ts";

describe("Linux on KVM", () => {
  for (const [name, path] of Object.entries(kernels)) {
    describe(name, () => {
      before(function () {
        skipWithout(this, path);
      });

      it("boots to the agent, runs a process with its streams and status, and powers off", async () => {
        const sandbox = await boot(path);
        const { stdout, stderr, status } = await runShell(
          sandbox,
          "/busybox cat; echo problem >&2; exit 7",
          "hello\n",
        );
        assert.deepEqual(
          { stdout, stderr, status },
          { stdout: "hello\n", stderr: "problem\n", status: 7 << 8 },
        );
        await sandbox[Symbol.asyncDispose]();
        assert.deepEqual(await sandbox.ended, { kind: "power-off" });
      });
    });
  }

  for (const name of ["our vmlinux (PVH)", "Debian's cloud kernel"] as const)
    it(`disks are seen in order, read and written by ${name}`, async function () {
      skipWithout(this, kernels[name]);
      await withFolder(async (folder) => {
        const content = Buffer.alloc(MiB, "first disk. ");
        writeFileSync(join(folder, "a"), content);
        writeFileSync(join(folder, "b"), Buffer.alloc(MiB));
        {
          await using sandbox = await boot(kernels[name], {
            disks: [
              { path: join(folder, "a"), readOnly: true },
              { path: join(folder, "b"), readOnly: false },
            ],
          });
          await mountKernelFiles(sandbox);
          const { stdout } = await runShell(
            sandbox,
            "/busybox dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null; /busybox md5sum < /dev/vda; /busybox dd if=/dev/vdb of=/dev/vda count=1 2>&1 | /busybox grep -c 'not permitted'; /busybox cat /sys/block/vda/serial",
          );
          assert.match(stdout, /\n1\ndisk0$/);
        }
        assert.ok(readFileSync(join(folder, "b")).equals(content));
        assert.ok(readFileSync(join(folder, "a")).equals(content));
      });
    });
});
