/** config.md, "Mounts": what is mounted where, in which order, from which source. */
import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { call, syscall } from "../../../linux/index.ts";
import { kernelAtLeast } from "../machine.ts";
import { rowsOf } from "../row.ts";
import type { Edit, Trial } from "../trial.ts";
import { mountAt } from "./filesystem.ts";

const row = rowsOf("config.md, Mounts");
const option = rowsOf("config.md, Linux mount options");
const idmap = rowsOf("config.md, POSIX-platform Mounts (idmap)");

const MS_SHARED = 1 << 20;
const MS_PRIVATE = 1 << 18;
const MNT_DETACH = 2;

function tmpfs(destination: string, options: readonly string[] = []): Edit {
  return (config) => {
    config.mounts.push({ destination, type: "tmpfs", source: "tmpfs", options: [...options] });
  };
}

function bind(t: Trial, destination: string, options: readonly string[], source = "volume"): Edit {
  return (config) => {
    config.mounts.push({
      destination,
      type: "none",
      source: t.path(source),
      options: [...options],
    });
  };
}

/** A host folder "volume" with a file, and a tmpfs mounted in its folder "nested". */
function makeVolume(t: Trial, propagation = MS_PRIVATE): void {
  mkdirSync(t.path("volume"));
  call("mount", "volume", t.path("volume"), "tmpfs", 0, "mode=755");
  t.onClose(() => void syscall("umount2", t.path("volume"), MNT_DETACH));
  call("mount", null, t.path("volume"), null, propagation, null);
  writeFileSync(t.path("volume/file"), "from the host\n");
  mkdirSync(t.path("volume/nested"));
  call("mount", "nested", t.path("volume/nested"), "tmpfs", 0, "mode=755");
  t.onClose(() => void syscall("umount2", t.path("volume/nested"), MNT_DETACH));
  writeFileSync(t.path("volume/nested/deep"), "deep\n");
}

interface OptionRow {
  readonly options: readonly string[];
  /** Per-mount options of mountinfo that must, and must not, be there. */
  readonly has?: readonly string[];
  readonly lacks?: readonly string[];
  /** The same for the file system's own options. */
  readonly superHas?: readonly string[];
  readonly should?: true;
}

// biome-ignore format: table
const tmpfsOptions: readonly OptionRow[] = [
  { options: ["ro"],                        has: ["ro"] },
  { options: ["rw"],                        has: ["rw"] },
  { options: ["ro", "rw"],                  has: ["rw"] },
  { options: ["nosuid"],                    has: ["nosuid"] },
  { options: ["nosuid", "suid"],            lacks: ["nosuid"] },
  { options: ["nodev"],                     has: ["nodev"] },
  { options: ["nodev", "dev"],              lacks: ["nodev"] },
  { options: ["noexec"],                    has: ["noexec"] },
  { options: ["noexec", "exec"],            lacks: ["noexec"] },
  { options: ["noatime"],                   has: ["noatime"] },
  { options: ["noatime", "atime"],          lacks: ["noatime"] },
  { options: ["nodiratime"],                has: ["nodiratime"] },
  { options: ["nodiratime", "diratime"],    lacks: ["nodiratime"] },
  { options: ["relatime"],                  has: ["relatime"] },
  { options: ["strictatime"],               lacks: ["noatime", "relatime"] },
  { options: ["norelatime"] },
  { options: ["nostrictatime"] },
  { options: ["defaults"],                  has: ["rw"], lacks: ["nosuid", "nodev", "noexec"] },
  { options: ["sync"],                      superHas: ["sync"] },
  { options: ["sync", "async"] },
  { options: ["dirsync"],                   superHas: ["dirsync"] },
  { options: ["lazytime"],                  superHas: ["lazytime"] },
  { options: ["lazytime", "nolazytime"] },
  { options: ["iversion"] },
  { options: ["noiversion"] },
  { options: ["silent"] },
  { options: ["loud"] },
  { options: ["nosymfollow"],               has: ["nosymfollow"], should: true },
  { options: ["nosymfollow", "symfollow"],  lacks: ["nosymfollow"], should: true },
  { options: ["size=128k"],                 superHas: ["size=128k"] },
  { options: ["mode=711", "uid=5", "gid=6"], superHas: ["mode=711", "uid=5", "gid=6"] },
];

function optionRow({ options, has = [], lacks = [], superHas = [], should }: OptionRow) {
  const id = `mount-option-${options.join("-").replaceAll("=", "")}`;
  const claim = `a mount with ${options.join(",")} has just what that means`;
  return option(should ? "SHOULD" : "MUST", id, claim, async (t) => {
    const out = await t.probe("cat /proc/self/mountinfo", tmpfs("/m", options));
    const seen = mountAt(out, "/m");
    assert.equal(seen.type, "tmpfs");
    for (const name of has) assert.ok(seen.options.includes(name), `no ${name}: ${seen.options}`);
    for (const name of lacks) assert.ok(!seen.options.includes(name), `${name} is set`);
    for (const name of superHas)
      assert.ok(seen.superOptions.includes(name), `no ${name}: ${seen.superOptions}`);
  });
}

// biome-ignore format: table
const recursiveOptions: readonly (readonly [option: string, start: readonly string[], has: string, lacks: string])[] = [
  ["rro",            [],                  "ro",          "rw"],
  ["rrw",            ["ro"],              "rw",          "ro"],
  ["rnosuid",        [],                  "nosuid",      ""],
  ["rsuid",          ["nosuid"],          "",            "nosuid"],
  ["rnodev",         [],                  "nodev",       ""],
  ["rdev",           ["nodev"],           "",            "nodev"],
  ["rnoexec",        [],                  "noexec",      ""],
  ["rexec",          ["noexec"],          "",            "noexec"],
  ["rnoatime",       [],                  "noatime",     ""],
  ["rnodiratime",    [],                  "nodiratime",  ""],
  ["rrelatime",      [],                  "relatime",    ""],
  ["rstrictatime",   [],                  "",            "relatime"],
  ["rnosymfollow",   [],                  "nosymfollow", ""],
  ["rsymfollow",     ["nosymfollow"],     "",            "nosymfollow"],
];

const propagations = [
  ["private", /^$/],
  ["rprivate", /^$/],
  ["slave", /^master:\d+$/],
  ["rslave", /^master:\d+$/],
  ["shared", /shared:\d+/],
  ["rshared", /shared:\d+/],
  ["unbindable", /^unbindable$/],
  ["runbindable", /^unbindable$/],
] as const;

export const mountRows = [
  row(
    "MUST",
    "mount-order",
    "mounts are made in the listed order: a later one covers an earlier one",
    async (t) => {
      makeVolume(t);
      const out = await t.probe("cat /m/file; grep -c ' /m ' /proc/self/mountinfo", (config) => {
        tmpfs("/m")(config);
        bind(t, "/m", ["bind"])(config);
      });
      assert.equal(out, "from the host\n2");
    },
  ),
  row("MUST", "mount-order-nested", "a mount inside an earlier mount is made in it", async (t) => {
    const out = await t.probe("ls /m; grep -c ' /m' /proc/self/mountinfo", (config) => {
      tmpfs("/m")(config);
      tmpfs("/m/inner")(config);
    });
    assert.equal(out, "inner\n2");
  }),
  row(
    "MUST",
    "mount-creates-folder",
    "a destination that is not there is made, with its parents",
    async (t) => {
      const out = await t.probe("stat -c %F /a/b/c", tmpfs("/a/b/c"));
      assert.equal(out, "directory");
    },
  ),
  row("MUST", "mount-file", "a file is bound onto a file that is not there yet", async (t) => {
    makeVolume(t);
    assert.equal(
      await t.probe("cat /etc/new/file", bind(t, "/etc/new/file", ["bind"], "volume/file")),
      "from the host",
    );
  }),
  row(
    "MUST",
    "mount-relative-destination",
    "a relative destination is relative to /",
    async (t) => {
      assert.match(await t.probe("cat /proc/self/mountinfo", tmpfs("rel/ative")), / \/rel\/ative /);
    },
  ),
  row(
    "MUST",
    "mount-relative-source",
    "a relative bind source is relative to the bundle",
    async (t) => {
      mkdirSync(`${t.bundle}/data`);
      writeFileSync(`${t.bundle}/data/file`, "bundle");
      assert.equal(
        await t.probe("cat /m/file", (config) => {
          config.mounts.push({
            destination: "/m",
            type: "none",
            source: "data",
            options: ["bind"],
          });
        }),
        "bundle",
      );
    },
  ),
  row(
    "MUST",
    "mount-symlink-destination",
    "a symlink in the destination is followed inside the root file system",
    async (t) => {
      mkdirSync(`${t.rootfs}/real`);
      symlinkSync("/real", `${t.rootfs}/link`);
      const out = await t.probe("cat /proc/self/mountinfo", tmpfs("/link/m"));
      assert.match(out, / \/real\/m /);
    },
  ),
  row("MUST", "mount-missing-source", "a bind source that is not there is refused", async (t) => {
    await t.refused(bind(t, "/m", ["bind"], "nowhere"));
  }),
  row(
    "MUST",
    "mount-unknown-type",
    "a file system that the kernel does not know is refused",
    async (t) => {
      await t.refused((config) => {
        config.mounts.push({ destination: "/m", type: "nosuchfs", source: "x" });
      });
    },
  ),
  row(
    "SHOULD",
    "mount-unknown-option",
    "an unknown option goes to the file system, which refuses it",
    async (t) => {
      await t.refused(tmpfs("/m", ["nosuchoption=1"]));
    },
  ),
  row("MUST", "mount-folder-on-file", "a folder over a file is refused", async (t) => {
    makeVolume(t);
    await t.refused(bind(t, "/etc/passwd", ["bind"]));
  }),
  row(
    "MUST",
    "mount-spaces",
    "paths with spaces and odd characters are taken as they are",
    async (t) => {
      const out = await t.probe("stat -f -c %T '/a b\\c'", tmpfs("/a b\\c"));
      assert.equal(out, "tmpfs");
    },
  ),

  ...tmpfsOptions.map(optionRow),
  option(
    "MUST",
    "mount-option-bind",
    "bind shows the source, without what is mounted inside it",
    async (t) => {
      makeVolume(t);
      const out = await t.probe("cat /m/file; ls -A /m/nested | wc -l", bind(t, "/m", ["bind"]));
      assert.equal(out, "from the host\n0");
    },
  ),
  option(
    "MUST",
    "mount-option-rbind",
    "rbind shows also what is mounted inside the source",
    async (t) => {
      makeVolume(t);
      assert.equal(
        await t.probe("cat /m/file /m/nested/deep", bind(t, "/m", ["rbind"])),
        "from the host\ndeep",
      );
    },
  ),
  option(
    "MUST",
    "mount-option-bind-write",
    "what is written to a bind mount is written to its source",
    async (t) => {
      makeVolume(t);
      await t.probe("echo inside > /m/new", bind(t, "/m", ["rbind", "rw"]));
      assert.equal(readFileSync(t.path("volume/new"), "utf8"), "inside\n");
    },
  ),
  ...(["ro", "nosuid", "nodev", "noexec", "noatime"] as const).map((name) =>
    option(
      "MUST",
      `mount-option-bind-${name}`,
      `${name} holds for a bind mount, and the source is unchanged`,
      async (t) => {
        makeVolume(t);
        const out = await t.probe("cat /proc/self/mountinfo", bind(t, "/m", ["bind", name]));
        assert.ok(mountAt(out, "/m").options.includes(name));
        const host = readFileSync("/proc/self/mountinfo", "utf8");
        assert.ok(!mountAt(host, t.path("volume")).options.includes(name), "the source changed");
      },
    ),
  ),
  option(
    "MUST",
    "mount-option-rbind-ro",
    "ro on rbind holds for the upper mount only",
    async (t) => {
      makeVolume(t);
      const out = await t.probe(
        "touch /m/x 2>&1; touch /m/nested/x && echo nested",
        bind(t, "/m", ["rbind", "ro"]),
      );
      assert.match(out, /Read-only file system\nnested$/);
    },
  ),
  option(
    "MUST",
    "mount-option-remount",
    "remount changes the options of a mount that is there",
    async (t) => {
      const out = await t.probe("cat /proc/self/mountinfo", (config) => {
        tmpfs("/m")(config);
        config.mounts.push({
          destination: "/m",
          type: "tmpfs",
          source: "tmpfs",
          options: ["remount", "ro"],
        });
      });
      assert.equal(out.match(/ \/m /g)?.length, 1);
      assert.ok(
        mountAt(out, "/m").options.includes("ro") || mountAt(out, "/m").superOptions.includes("ro"),
      );
    },
  ),
  ...recursiveOptions.map(([name, start, has, lacks]) =>
    option(
      "SHOULD",
      `mount-option-${name}`,
      `${name} holds for the mounts inside as well`,
      async (t) => {
        makeVolume(t);
        const out = await t.probe(
          "cat /proc/self/mountinfo",
          bind(t, "/m", ["rbind", ...start, name]),
        );
        for (const target of ["/m", "/m/nested"]) {
          const { options } = mountAt(out, target);
          if (has !== "") assert.ok(options.includes(has), `${target}: ${options}`);
          if (lacks !== "") assert.ok(!options.includes(lacks), `${target}: ${options}`);
        }
      },
      { needs: [kernelAtLeast(5, 12)] },
    ),
  ),
  ...propagations.map(([name, expected]) =>
    option("MUST", `mount-option-${name}`, `${name} is the mount's propagation`, async (t) => {
      makeVolume(t, MS_SHARED);
      const out = await t.probe("cat /proc/self/mountinfo", bind(t, "/m", ["rbind", name]));
      assert.match(mountAt(out, "/m").optional.join(" "), expected);
      if (/^r/.test(name))
        assert.match(
          mountAt(out, "/m/nested").optional.join(" "),
          name === "rslave" || name === "rshared" ? /^$|shared|master/ : expected,
        );
    }),
  ),
  option(
    "MUST",
    "mount-option-slave-receives",
    "what the host mounts later in the source of an rslave mount is seen inside",
    async (t) => {
      makeVolume(t, MS_SHARED);
      mkdirSync(t.path("volume/later"));
      const container = await t.started("sleep 100", bind(t, "/m", ["rbind", "rslave"]));
      call("mount", "later", t.path("volume/later"), "tmpfs", 0, "");
      t.onClose(() => void syscall("umount2", t.path("volume/later"), MNT_DETACH));
      assert.match(container.proc("mountinfo"), / \/m\/later /);
    },
  ),
  option(
    "SHOULD",
    "mount-option-tmpcopyup",
    "tmpcopyup fills the tmpfs with what was there",
    async (t) => {
      mkdirSync(`${t.rootfs}/full/deep`, { recursive: true });
      writeFileSync(`${t.rootfs}/full/deep/file`, "copied\n");
      chownSync(`${t.rootfs}/full/deep/file`, 12, 34);
      const out = await t.probe(
        "cat /full/deep/file; stat -c %u:%g /full/deep/file; echo x > /full/new",
        tmpfs("/full", ["tmpcopyup"]),
      );
      assert.equal(out, "copied\n12:34");
      assert.ok(!existsSync(`${t.rootfs}/full/new`));
    },
  ),

  idmap(
    "SHOULD",
    "idmap-mount",
    "files of an idmapped mount have the mapped owners",
    async (t) => {
      makeVolume(t);
      chownSync(t.path("volume/file"), 5, 6);
      assert.equal(
        await t.probe("stat -c %u:%g /m/file", idmapped(t, ["bind", "idmap"])),
        "1005:2006",
      );
    },
    { needs: [kernelAtLeast(6, 3)] },
  ),
  idmap(
    "SHOULD",
    "ridmap-mount",
    "with ridmap also the mounts inside are mapped",
    async (t) => {
      makeVolume(t);
      assert.equal(
        await t.probe("stat -c %u /m/nested/deep", idmapped(t, ["rbind", "ridmap"])),
        "1000",
      );
    },
    { needs: [kernelAtLeast(6, 3)] },
  ),
  idmap(
    "SHOULD",
    "idmap-not-recursive",
    "with idmap the mounts inside are not mapped",
    async (t) => {
      makeVolume(t);
      assert.equal(
        await t.probe("stat -c %u /m/file /m/nested/deep", idmapped(t, ["rbind", "idmap"])),
        "1000\n0",
      );
    },
    { needs: [kernelAtLeast(6, 3)] },
  ),
  idmap(
    "MUST",
    "idmap-without-mappings",
    "idmap without mappings and without a user namespace is refused",
    async (t) => {
      makeVolume(t);
      await t.refused(bind(t, "/m", ["bind", "idmap"]));
    },
  ),
  idmap("MUST", "idmap-half", "uidMappings without gidMappings are refused", async (t) => {
    makeVolume(t);
    await t.refused((config) => {
      idmapped(t, ["bind", "idmap"])(config);
      delete config.mounts.at(-1)?.gidMappings;
    });
  }),
];

function idmapped(t: Trial, options: readonly string[]): Edit {
  return (config) => {
    config.mounts.push({
      destination: "/m",
      type: "none",
      source: t.path("volume"),
      options: [...options],
      uidMappings: [{ containerID: 0, hostID: 1000, size: 100 }],
      gidMappings: [{ containerID: 0, hostID: 2000, size: 100 }],
    });
  };
}
