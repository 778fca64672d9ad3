/** What is said when there is no usable KVM. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { call } from "../../../linux/index.ts";
import {
  hasHardwareVirtualization,
  KvmUnavailableError,
  openKvm,
} from "../../../vmm-sandbox/kvm/index.ts";

describe("hasHardwareVirtualization()", () => {
  const rows = [
    ["Intel's", "model name : x\nflags\t\t: fpu vmx sse\n", true],
    ["AMD's at the end of the line", "flags\t\t: fpu svm\nbugs\t: none\n", true],
    ["none", "flags\t\t: fpu sse\n", false],
    [
      "only another word that contains it",
      "vmx flags\t: vnmi\nflags\t\t: fpu svm_lock avmx\n",
      false,
    ],
    ["no flags at all", "", false],
  ] as const;
  for (const [what, text, expected] of rows) {
    it(`sees ${what}`, () => assert.equal(hasHardwareVirtualization(text), expected));
  }
});

describe("openKvm()", () => {
  it("says what to do when there is no /dev/kvm", () => {
    assert.throws(
      () => openKvm("/nonexistent/kvm"),
      (error: unknown) =>
        error instanceof KvmUnavailableError &&
        error.why === "missing" &&
        /--cpu software/.test(error.hint),
    );
  });

  it("says how to get permission for a /dev/kvm of others", function () {
    if (process.geteuid?.() !== 0) {
      console.log("    skipped: only root becomes somebody else");
      this.skip();
    }
    const folder = mkdtempSync(join(tmpdir(), "kvm-"));
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, "kvm"), "", { mode: 0o600 });
    // The system call changes this thread alone.
    call("setresuid", -1, 65534, -1);
    try {
      assert.throws(
        () => openKvm(join(folder, "kvm")),
        (error: unknown) =>
          error instanceof KvmUnavailableError &&
          error.why === "permission" &&
          /usermod -aG kvm/.test(error.hint),
      );
    } finally {
      call("setresuid", -1, 0, -1);
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses a file that is no KVM device", () => {
    assert.throws(
      () => openKvm("/dev/null"),
      (error: unknown) => error instanceof KvmUnavailableError && error.why === "version",
    );
  });
});
