/** `vm run`: any kernel, its serial console on our streams. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeInitramfs } from "../../../vmm-sandbox/index.ts";
import { guestKernel, whyNoMachine } from "./guest-kernel.ts";

const project = fileURLToPath(new URL("../../..", import.meta.url));
const busybox = "/bin/busybox";
const script = `#!/bin/busybox sh
echo ready; read line; echo "got $line"; /bin/busybox poweroff -f
`;

describe("vm run --cpu software", function () {
  this.timeout(120_000);
  let folder: string;

  before(function () {
    const bzImage = join(guestKernel(), "bzImage");
    const reason =
      whyNoMachine() ??
      [bzImage, busybox].filter((file) => !existsSync(file)).map((file) => `no "${file}"`)[0];
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), "vm-run-"));
    const initrd = encodeInitramfs([
      { path: "bin", type: "directory" },
      { path: "dev", type: "directory" },
      { path: "dev/console", type: "character", major: 5, minor: 1 },
      { path: "bin/busybox", type: "file", mode: 0o755, data: readFileSync(busybox) },
      { path: "init", type: "file", mode: 0o755, data: Buffer.from(script) },
    ]);
    writeFileSync(join(folder, "initrd"), initrd);
  });
  after(() => folder !== undefined && rmSync(folder, { recursive: true }));

  const vmRun = (...args: readonly string[]) =>
    spawn(
      join(project, "node_modules/.bin/bun"),
      [join(project, "cli/main.ts"), "vm", "run", "--cpu", "software", ...args],
      { stdio: ["pipe", "pipe", "pipe"] },
    );

  it("boots, prints what the serial port says, passes input on, and ends with the machine", async () => {
    const child = vmRun(
      ...["--kernel", join(guestKernel(), "bzImage"), "--initrd", join(folder, "initrd")],
      ...["--cmdline", "console=ttyS0 quiet panic=-1 reboot=k"],
    );
    let output = "";
    child.stdout.on("data", (bytes: Buffer) => {
      const before = output.includes("ready");
      output += bytes.toString();
      if (!before && output.includes("ready")) child.stdin.write("typed\n");
    });
    const [status] = await once(child, "exit");
    assert.equal(status, 0, output);
    assert.match(output, /ready[\s\S]*got typed/);
  });

  it("says what is wrong with a file that is no kernel", async () => {
    const child = vmRun("--kernel", "/etc/passwd");
    let errors = "";
    child.stderr.on("data", (bytes: Buffer) => {
      errors += bytes.toString();
    });
    const [status] = await once(child, "close");
    assert.notEqual(status, 0);
    assert.match(errors, /kernel/i);
  });
});
