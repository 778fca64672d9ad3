import assert from "node:assert/strict";
import { MAX_BUNDLE_SHARES, planBundleShares } from "../../../engine/vm/bundle-shares.ts";
import type { Mount, RuntimeConfig } from "../../../oci/index.ts";

const host = {
  kindOf: (path: string) =>
    path.endsWith("/") || path.startsWith("/dir")
      ? ("directory" as const)
      : path === "/missing"
        ? ("missing" as const)
        : path === "/socket"
          ? ("other" as const)
          : ("file" as const),
  resolve: (path: string) => (path === "/link" ? "/real/file" : path),
  sizeOf: () => 4096,
};
const bind = (source: string, ...more: readonly string[]): Mount => {
  return { destination: source, type: "bind", source, options: ["rbind", ...more] };
};
const plan = (...mounts: readonly Mount[]) => {
  const config: RuntimeConfig = { ociVersion: "1.2.0", mounts };
  return planBundleShares(config, host);
};

describe("engine/vm/bundle-shares", () => {
  it("files of one directory share it, and the guest sees no other", () => {
    const { shares, files, config } = plan(bind("/e/hosts"), bind("/e/hostname"), bind("/dir"));
    assert.deepEqual(
      shares.map(({ source, only }) => [source, only]),
      [
        ["/e", ["hosts", "hostname"]],
        ["/dir", undefined],
      ],
    );
    assert.deepEqual(files, ["/volumes/0/hosts", "/volumes/0/hostname"]);
    assert.deepEqual(
      config.mounts?.map(({ source }) => source),
      ["/volumes/0/hosts", "/volumes/0/hostname", "/volumes/1"],
    );
  });

  it("read-only ones are shared apart", () => {
    const { shares } = plan(bind("/e/a"), bind("/e/b", "ro"), bind("/dir", "ro"));
    assert.deepEqual(
      shares.map(({ readOnly }) => readOnly),
      [false, true, true],
    );
  });

  it("links are the host's", () => {
    assert.deepEqual(plan(bind("/link")).shares[0]?.only, ["file"]);
    assert.equal(plan(bind("/link")).shares[0]?.source, "/real");
  });

  it("what an engine binds on /dev/shm becomes the guest's own memory, of that size", () => {
    const shm = { ...bind("/var/x/shm"), destination: "/dev/shm" };
    const { config, shares } = plan(shm);
    assert.equal(config.mounts?.[0]?.type, "tmpfs");
    assert.ok(config.mounts?.[0]?.options?.includes("size=4096"));
    assert.deepEqual(shares, []);
  });

  it("other mounts stay as they are", () => {
    const tmpfs = { destination: "/tmp", type: "tmpfs", source: "tmpfs" };
    assert.deepEqual(plan(tmpfs).config.mounts, [tmpfs]);
  });

  const many = Array.from({ length: MAX_BUNDLE_SHARES + 1 }, (_, index) => bind(`/dir${index}`));
  // biome-ignore format: table
  const refused: readonly (readonly [why: string, mounts: readonly Mount[], problem: RegExp])[] = [
    ["what is not there", [bind("/missing")], /"\/missing": the host has no such file/],
    ["what is no file", [bind("/socket")], /"\/socket" in a virtual machine: expected a directory or a regular file/],
    ["more than a machine has devices for", many, /Cannot share 13 directories with a virtual machine: expected 12/],
  ];
  for (const [why, mounts, problem] of refused)
    it(`refuses ${why}`, () => assert.throws(() => plan(...mounts), problem));
});
