/** config.md, "POSIX process" and "User": resource limits, IDs, groups, umask. */
import assert from "node:assert/strict";
import { capability } from "../machine.ts";
import { rowsOf } from "../row.ts";

const posix = rowsOf("config.md, POSIX process");
const user = rowsOf("config.md, POSIX-platform User");

/** /proc/self/limits: name, soft, hard. */
function limitOf(limits: string, name: string): readonly string[] {
  const line = limits.split("\n").find((text) => text.startsWith(name)) ?? "";
  return line.slice(name.length).trim().split(/\s+/).slice(0, 2);
}

// biome-ignore format: table
const rlimits: readonly (readonly [type: string, name: string, soft: number, hard: number])[] = [
  ["RLIMIT_AS",         "Max address space",     4_294_967_296, 8_589_934_592],
  ["RLIMIT_CORE",       "Max core file size",    1024,          2048],
  ["RLIMIT_CPU",        "Max cpu time",          100,           200],
  ["RLIMIT_DATA",       "Max data size",         4_294_967_296, 8_589_934_592],
  ["RLIMIT_FSIZE",      "Max file size",         1_048_576,     2_097_152],
  ["RLIMIT_LOCKS",      "Max file locks",        50,            60],
  ["RLIMIT_MEMLOCK",    "Max locked memory",     4096,          8192],
  ["RLIMIT_MSGQUEUE",   "Max msgqueue size",     4096,          8192],
  ["RLIMIT_NICE",       "Max nice priority",     0,             0],
  ["RLIMIT_NOFILE",     "Max open files",        512,           1024],
  ["RLIMIT_NPROC",      "Max processes",         100,           200],
  ["RLIMIT_RSS",        "Max resident set",      1_048_576,     2_097_152],
  ["RLIMIT_RTPRIO",     "Max realtime priority", 0,             0],
  ["RLIMIT_RTTIME",     "Max realtime timeout",  1000,          2000],
  ["RLIMIT_SIGPENDING", "Max pending signals",   100,           200],
  ["RLIMIT_STACK",      "Max stack size",        1_048_576,     2_097_152],
];

export const posixProcessRows = [
  ...rlimits.map(([type, name, soft, hard]) =>
    posix(
      "MUST",
      `rlimit-${type.slice(7).toLowerCase()}`,
      `${type} is set, soft and hard`,
      async (t) => {
        const out = await t.probe("cat /proc/self/limits", (config) => {
          config.process.rlimits = [{ type, soft, hard }];
        });
        assert.deepEqual(limitOf(out, name), [String(soft), String(hard)]);
      },
    ),
  ),
  posix("MUST", "rlimit-unknown", "an rlimit the kernel does not know is refused", async (t) => {
    await t.refused((config) => {
      config.process.rlimits = [{ type: "RLIMIT_NOTHING", soft: 1, hard: 1 }];
    });
  }),
  posix("MUST", "rlimit-duplicate", "two rlimits of one type are refused", async (t) => {
    await t.refused((config) => {
      const limit = { type: "RLIMIT_CORE", soft: 1, hard: 1 };
      config.process.rlimits = [limit, limit];
    });
  }),
  posix(
    "MUST",
    "rlimit-soft-above-hard",
    "an rlimit that the kernel refuses is an error",
    async (t) => {
      await t.refused((config) => {
        config.process.rlimits = [{ type: "RLIMIT_CORE", soft: 10, hard: 5 }];
      });
    },
  ),
  posix(
    "MUST",
    "rlimit-raise",
    "a hard limit can be raised by a runtime with CAP_SYS_RESOURCE",
    async (t) => {
      const out = await t.probe("cat /proc/self/limits", (config) => {
        config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 100_000, hard: 200_000 }];
      });
      assert.deepEqual(limitOf(out, "Max open files"), ["100000", "200000"]);
    },
    { needs: [capability("CAP_SYS_RESOURCE", 24)] },
  ),

  user(
    "MUST",
    "user-ids",
    "uid and gid are the program's real, effective, saved and file system IDs",
    async (t) => {
      const out = await t.probe("grep -E '^(Uid|Gid)' /proc/self/status", (config) => {
        config.process.user = { uid: 1234, gid: 5678 };
      });
      const ids = out.split("\n").map((line) => line.split(/\s+/).slice(1).join(" "));
      assert.deepEqual(ids, ["1234 1234 1234 1234", "5678 5678 5678 5678"]);
    },
  ),
  user(
    "MUST",
    "user-additional-gids",
    "additionalGids are the program's supplementary groups, and no others",
    async (t) => {
      const out = await t.probe("grep Groups /proc/self/status", (config) => {
        config.process.user = { uid: 1, gid: 1, additionalGids: [77, 5] };
      });
      const groups = out
        .split(/\s+/)
        .slice(1)
        .map(Number)
        .sort((a, b) => a - b);
      assert.deepEqual(
        groups.filter((gid) => gid !== 1),
        [5, 77],
      );
    },
  ),
  user(
    "MUST",
    "user-no-groups",
    "without additionalGids the runtime's own groups are dropped",
    async (t) => {
      const out = await t.probe("grep Groups /proc/self/status", (config) => {
        config.process.user = { uid: 99, gid: 98 };
      });
      assert.deepEqual(
        out
          .split(/\s+/)
          .slice(1)
          .filter((gid) => gid !== "98"),
        [],
      );
    },
  ),
  user("MUST", "user-umask", "umask is set", async (t) => {
    assert.equal(
      await t.probe("umask", (config) => {
        config.process.user = { uid: 0, gid: 0, umask: 0o27 };
      }),
      "0027",
    );
  }),
  user(
    "SHOULD",
    "user-umask-default",
    "without umask the program starts with 022 or the caller's",
    async (t) => {
      const own = process.umask().toString(8).padStart(4, "0");
      assert.ok(["0022", own].includes(await t.probe("umask")));
    },
  ),
  user(
    "MUST",
    "user-unprivileged-stdio",
    "a program that is not root can open its standard streams again",
    async (t) => {
      const out = await t.probe("echo again > /dev/stdout; echo done", (config) => {
        config.process.user = { uid: 1000, gid: 1000 };
      });
      assert.match(out, /done/);
    },
  ),
];
