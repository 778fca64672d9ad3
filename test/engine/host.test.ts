import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { namesOfMask } from "../../engine/spec/capabilities.ts";
import { heldCapabilities, maxOpenFiles, readDevices } from "../../engine/spec/host.ts";

describe("facts of the host", () => {
  it("heldCapabilities() agrees with /proc", () => {
    const mask = /CapEff:\s*([0-9a-f]+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    assert.deepEqual(heldCapabilities(), namesOfMask(BigInt(`0x${mask}`)));
  });
  it("maxOpenFiles() agrees with /proc", () => {
    const hard = /^Max open files\s+\d+\s+(\S+)/m.exec(
      readFileSync("/proc/self/limits", "utf8"),
    )?.[1];
    assert.equal(String(maxOpenFiles()), hard);
  });
  it("readDevices() reads one, and a directory of them", () => {
    const [device] = readDevices({
      devices: [{ source: "/dev/null", target: "/dev/x", access: "r" }],
    });
    assert.deepEqual(
      { ...device, mode: 0 },
      { type: "c", major: 1, minor: 3, mode: 0, uid: 0, gid: 0, target: "/dev/x", access: "r" },
    );
    const all = readDevices({ privileged: true });
    assert.ok(all.some(({ target }) => target === "/dev/null"));
    assert.ok(!all.some(({ target }) => target.startsWith("/dev/pts")));
  });
  it("readDevices() does not look below /dev/shm", function () {
    if (process.getuid?.() !== 0) this.skip(); // only root makes device nodes
    const directory = mkdtempSync("/dev/shm/manyworlds-devices-");
    try {
      execFileSync("mknod", [`${directory}/null`, "c", "1", "3"]);
      const all = readDevices({ privileged: true });
      assert.ok(!all.some(({ target }) => target.startsWith("/dev/shm")));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
  for (const [why, source] of [
    ["a missing device", "/dev/nope"],
    ["a plain file", "/etc/passwd"],
  ] as const) {
    it(`readDevices() refuses ${why}`, () => {
      const devices = [{ source, target: source, access: "rwm" }];
      assert.throws(() => readDevices({ devices }), /Cannot add the device/);
    });
  }
});
