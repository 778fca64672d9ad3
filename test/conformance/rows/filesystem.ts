/** Root file system, default file systems, /dev, masked and read-only paths, propagation. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { rowsOf } from "../row.ts";

const root = rowsOf("config.md, Root");
const defaults = rowsOf("config-linux.md, Default Filesystems");
const devices = rowsOf("config-linux.md, Default Devices");
const links = rowsOf("runtime-linux.md, Dev symbolic links");
const masked = rowsOf("config-linux.md, Masked Paths");
const readonly = rowsOf("config-linux.md, Readonly Paths");
const propagation = rowsOf("config-linux.md, Rootfs Mount Propagation");

/** The line of mountinfo for a mount point: its options, propagation, type, super options. */
export function mountAt(mountinfo: string, target: string) {
  const line = mountinfo.split("\n").findLast((text) => text.split(" ")[4] === target) ?? "";
  const [before = "", after = ""] = line.split(" - ");
  const [, , , , , options = "", ...optional] = before.split(" ");
  const [type = "", source = "", superOptions = ""] = after.split(" ");
  return {
    options: options.split(","),
    optional,
    type,
    source,
    superOptions: superOptions.split(","),
  };
}

const defaultDevices: readonly (readonly [name: string, major: number, minor: number])[] = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0],
];

/** Propagation of the mounts that every machine has. */
function hostPropagation(): readonly string[] {
  const mountinfo = readFileSync("/proc/self/mountinfo", "utf8");
  return ["/", "/proc", "/sys"].map((target) => mountAt(mountinfo, target).optional.join(" "));
}

export const filesystemRows = [
  root("MUST", "root-relative", "a relative root.path is relative to the bundle", async (t) => {
    writeFileSync(`${t.rootfs}/marker`, "this one");
    assert.equal(await t.probe("cat /marker"), "this one");
  }),
  root("MUST", "root-absolute", "an absolute root.path is taken as it is", async (t) => {
    writeFileSync(`${t.rootfs}/marker`, "absolute");
    assert.equal(
      await t.probe("cat /marker", (config) => {
        config.root.path = t.rootfs;
      }),
      "absolute",
    );
  }),
  root("MUST", "root-writable", "the root file system can be written to by default", async (t) => {
    await t.probe("echo new > /file");
    assert.equal(readFileSync(`${t.rootfs}/file`, "utf8"), "new\n");
  }),
  root(
    "MUST",
    "root-readonly",
    "with root.readonly nothing can be written to the root file system",
    async (t) => {
      const out = await t.probe(
        "touch /file 2>&1; touch /etc/file 2>&1; grep ' / / \\| / ' /proc/self/mountinfo | head -1",
        (config) => {
          config.root.readonly = true;
        },
      );
      assert.match(out, /Read-only file system/);
      assert.ok(!existsSync(`${t.rootfs}/file`) && !existsSync(`${t.rootfs}/etc/file`));
    },
  ),
  root(
    "MUST",
    "root-readonly-mounts",
    "with root.readonly other mounts stay writable",
    async (t) => {
      const out = await t.probe("echo x > /dev/shm/file && cat /dev/shm/file", (config) => {
        config.root.readonly = true;
      });
      assert.equal(out, "x");
    },
  ),
  root("MUST", "root-no-escape", "the old root cannot be reached from the new one", async (t) => {
    const out = await t.probe("ls -d /../bin/busybox; ls /.. | sort | tr '\\n' ' '");
    assert.match(out, /busybox/);
    assert.ok(!out.includes("rootfs"), out);
  }),

  ...(
    [
      ["/proc", "proc"],
      ["/sys", "sysfs"],
      ["/dev/pts", "devpts"],
      ["/dev/shm", "tmpfs"],
    ] as const
  ).map(([path, type]) =>
    defaults(
      "SHOULD",
      `default-fs-${type}`,
      `${path} is ${type} when config.json mounts it`,
      async (t) => {
        const out = await t.probe("cat /proc/self/mountinfo");
        assert.equal(mountAt(out, path).type, type);
      },
    ),
  ),

  ...defaultDevices.map(([name, major, minor]) =>
    devices(
      "MUST",
      `dev-${name}`,
      `/dev/${name} is the character device ${major}:${minor}, for everybody`,
      async (t) => {
        const out = await t.probe(`stat -c '%F %t:%T %a' /dev/${name}`);
        assert.equal(out, `character special file ${major.toString(16)}:${minor.toString(16)} 666`);
      },
    ),
  ),
  devices("MUST", "dev-works", "default devices do what they are for", async (t) => {
    const out = await t.probe(
      "echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1 | tr -d ' '; head -c 4 /dev/urandom | wc -c; echo x 2>/dev/null > /dev/full || echo full",
    );
    assert.equal(out.replaceAll(/\s+/g, " "), "000000 4 full");
  }),
  devices("MUST", "dev-ptmx", "/dev/ptmx is the container's own /dev/pts/ptmx", async (t) => {
    const out = await t.probe(
      "readlink /dev/ptmx || stat -c %t:%T /dev/ptmx; [ -c /dev/pts/ptmx ] && echo there",
    );
    assert.match(out, /^(\/dev\/)?(pts\/ptmx|5:2)\nthere$/);
  }),
  devices(
    "MUST",
    "dev-no-console",
    "without terminal there is no /dev/console of the host's",
    async (t) => {
      const out = await t.probe("[ -c /dev/console ] && stat -c %t:%T /dev/console || echo none");
      assert.equal(out, "none");
    },
  ),
  devices("MUST", "dev-no-others", "no other device is there", async (t) => {
    const out = await t.probe("find /dev -type c -o -type b | sort | tr '\\n' ' '");
    assert.equal(
      out,
      "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero",
    );
  }),
  // biome-ignore format: table
  ...([
    ["fd",     "/proc/self/fd"],
    ["stdin",  "/proc/self/fd/0"],
    ["stdout", "/proc/self/fd/1"],
    ["stderr", "/proc/self/fd/2"],
  ] as const).map(([name, target]) =>
    links("MUST", `dev-link-${name}`, `/dev/${name} is a symlink to ${target}`, async (t) => {
      assert.equal(await t.probe(`readlink /dev/${name}`), target);
    }),
  ),

  masked("MUST", "masked-file", "a masked file cannot be read", async (t) => {
    writeFileSync(`${t.rootfs}/etc/secret`, "secret");
    const out = await t.probe("cat /etc/secret; wc -c < /etc/secret", (config) => {
      config.linux.maskedPaths = ["/etc/secret"];
    });
    assert.equal(out, "0");
  }),
  masked(
    "MUST",
    "masked-folder",
    "a masked folder is empty and cannot be written to",
    async (t) => {
      mkdirSync(`${t.rootfs}/vault`);
      writeFileSync(`${t.rootfs}/vault/secret`, "secret");
      const out = await t.probe("ls -A /vault | wc -l; touch /vault/x 2>&1 || true", (config) => {
        config.linux.maskedPaths = ["/vault"];
      });
      assert.match(out, /^0\n.*Read-only/s);
    },
  ),
  masked("MUST", "masked-proc", "a masked file of /proc cannot be read", async (t) => {
    const out = await t.probe("head -c 10 /proc/kallsyms | wc -c", (config) => {
      config.linux.maskedPaths = ["/proc/kallsyms"];
    });
    assert.equal(out, "0");
  }),
  masked(
    "MUST",
    "masked-missing",
    "a masked path that is not there is no error and is not made",
    async (t) => {
      await t.probe("true", (config) => {
        config.linux.maskedPaths = ["/not/there"];
      });
      assert.ok(!existsSync(`${t.rootfs}/not`));
    },
  ),
  masked("MUST", "masked-relative", "a masked path that is not absolute is refused", async (t) => {
    await t.refused((config) => {
      config.linux.maskedPaths = ["etc/passwd"];
    });
  }),
  readonly(
    "MUST",
    "readonly-folder",
    "a read-only path cannot be written to, its siblings can",
    async (t) => {
      mkdirSync(`${t.rootfs}/fixed/deep`, { recursive: true });
      const out = await t.probe(
        "touch /fixed/x /fixed/deep/x 2>&1; touch /opt/x && echo sibling",
        (config) => {
          config.linux.readonlyPaths = ["/fixed"];
        },
      );
      assert.equal(out.match(/Read-only file system/g)?.length, 2);
      assert.match(out, /sibling$/);
    },
  ),
  readonly("MUST", "readonly-file", "a read-only file can be read and not written", async (t) => {
    writeFileSync(`${t.rootfs}/etc/fixed`, "content\n");
    const out = await t.probe("cat /etc/fixed; (echo new > /etc/fixed) 2>&1 || true", (config) => {
      config.linux.readonlyPaths = ["/etc/fixed"];
    });
    assert.match(out, /^content\n.*Read-only/s);
  }),
  readonly(
    "MUST",
    "readonly-proc-sys",
    "/proc/sys as a read-only path cannot be written to",
    async (t) => {
      const out = await t.probe("(echo x > /proc/sys/kernel/domainname) 2>&1 || true", (config) => {
        config.linux.readonlyPaths = ["/proc/sys"];
      });
      assert.match(out, /Read-only/);
    },
  ),
  readonly(
    "MUST",
    "readonly-keeps-flags",
    "a read-only path keeps nosuid, nodev and noexec of its mount",
    async (t) => {
      const out = await t.probe("cat /proc/self/mountinfo", (config) => {
        config.mounts.push({
          destination: "/tmp",
          type: "tmpfs",
          source: "tmpfs",
          options: ["nosuid", "nodev", "noexec"],
        });
        config.linux.readonlyPaths = ["/tmp"];
      });
      const { options } = mountAt(out, "/tmp");
      for (const option of ["ro", "nosuid", "nodev", "noexec"])
        assert.ok(options.includes(option), option);
    },
  ),
  readonly(
    "MUST",
    "readonly-missing",
    "a read-only path that is not there is no error",
    async (t) => {
      await t.probe("true", (config) => {
        config.linux.readonlyPaths = ["/not/there"];
      });
    },
  ),
  readonly(
    "MUST",
    "readonly-relative",
    "a read-only path that is not absolute is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.readonlyPaths = ["etc"];
      });
    },
  ),

  // biome-ignore format: table
  ...([
    ["private",    (optional: readonly string[]) => !optional.some((tag) => /shared|master|unbindable/.test(tag))],
    ["slave",      (optional: readonly string[]) => !optional.some((tag) => /shared/.test(tag))],
    ["shared",     (optional: readonly string[]) => optional.some((tag) => /shared/.test(tag))],
    ["unbindable", (optional: readonly string[]) => optional.includes("unbindable")],
  ] as const).map(([kind, fits]) =>
    propagation("MUST", `propagation-${kind}`, `rootfsPropagation ${kind} is the root mount's propagation`, async (t) => {
      const out = await t.probe("cat /proc/self/mountinfo", (config) => {
        config.linux.rootfsPropagation = kind;
      });
      assert.ok(fits(mountAt(out, "/").optional), mountAt(out, "/").optional.join(" "));
    }),
  ),
  propagation(
    "MUST",
    "propagation-unknown",
    "a rootfsPropagation that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.rootfsPropagation = "sideways";
      });
    },
  ),
  propagation(
    "MUST",
    "propagation-host-unchanged",
    "the host's own mounts keep their propagation",
    async (t) => {
      const before = hostPropagation();
      await t.probe("true");
      assert.deepEqual(hostPropagation(), before);
    },
  ),
];
