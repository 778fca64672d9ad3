/** config-linux.md, "Devices", "Allowed Device list" and "Network Devices". */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { rowsOf } from "../row.ts";
import type { Edit, Trial } from "../trial.ts";

const row = rowsOf("config-linux.md, Devices");
const allowed = rowsOf("config-linux.md, Allowed Device list");
const network = rowsOf("config-linux.md, Network Devices");

const fuse = { type: "c", major: 10, minor: 229 } as const;

function rules(...entries: readonly object[]): Edit {
  return (config) => {
    Object.assign(config.linux.resources ?? {}, {
      devices: [{ allow: false, access: "rwm" }, ...entries],
    });
  };
}

/** What reading and writing a fuse device gives inside: "read written" at best. */
const tryFuse =
  "(: < /dev/f) 2>/dev/null && printf 'read '; (: >> /dev/f) 2>/dev/null && printf 'written'; true";
const makeFuse = "mknod /tmp/d c 10 229 2>/dev/null && echo made || echo refused";

function withFuse(...entries: readonly object[]): Edit {
  return (config) => {
    config.linux.devices = [{ ...fuse, path: "/dev/f", fileMode: 0o666 }];
    rules(...entries)(config);
  };
}

export const deviceRows = [
  row(
    "MUST",
    "device-char",
    "a character device is there with its numbers, mode and owner",
    async (t) => {
      const out = await t.probe("stat -c '%F %t:%T %a %u:%g' /dev/f", (config) => {
        config.linux.devices = [{ ...fuse, path: "/dev/f", fileMode: 0o640, uid: 12, gid: 34 }];
      });
      assert.equal(out, "character special file a:e5 640 12:34");
    },
  ),
  row("MUST", "device-block", "a block device is there", async (t) => {
    const out = await t.probe("stat -c '%F %t:%T' /dev/b", (config) => {
      config.linux.devices = [{ type: "b", path: "/dev/b", major: 7, minor: 0, fileMode: 0o600 }];
    });
    assert.equal(out, "block special file 7:0");
  }),
  row("MUST", "device-unbuffered", "type u is a character device", async (t) => {
    const out = await t.probe("stat -c '%F %t:%T' /dev/u", (config) => {
      config.linux.devices = [
        { type: "u", path: "/dev/u", major: 10, minor: 229, fileMode: 0o600 },
      ];
    });
    assert.equal(out, "character special file a:e5");
  }),
  row("MUST", "device-fifo", "type p is a FIFO, without major and minor", async (t) => {
    const out = await t.probe("stat -c '%F' /dev/p", (config) => {
      config.linux.devices = [{ type: "p", path: "/dev/p", fileMode: 0o600 }];
    });
    assert.equal(out, "fifo");
  }),
  row(
    "MUST",
    "device-elsewhere",
    "a device may be outside of /dev, in a folder that is not there yet",
    async (t) => {
      const out = await t.probe("stat -c '%F' /opt/new/f", (config) => {
        config.linux.devices = [{ ...fuse, path: "/opt/new/f", fileMode: 0o600 }];
      });
      assert.equal(out, "character special file");
    },
  ),
  row("MUST", "device-umask", "the caller's umask does not change the mode", async (t) => {
    const before = process.umask(0o077);
    try {
      const out = await t.probe("stat -c %a /dev/f /dev/null", (config) => {
        config.linux.devices = [{ ...fuse, path: "/dev/f", fileMode: 0o666 }];
      });
      assert.equal(out, "666\n666");
    } finally {
      process.umask(before);
    }
  }),
  row(
    "MUST",
    "device-conflict",
    "a file that is there and is not the device is refused",
    async (t) => {
      writeFileSync(`${t.rootfs}/opt/f`, "a file");
      await t.refused((config) => {
        config.linux.devices = [{ ...fuse, path: "/opt/f" }];
      });
    },
  ),
  row("MUST", "device-unknown-type", "a device type that does not exist is refused", async (t) => {
    await t.refused((config) => {
      Object.assign(config.linux, { devices: [{ ...fuse, type: "z", path: "/dev/z" }] });
    });
  }),
  row(
    "MUST",
    "device-relative",
    "a device path that is not absolute is refused or taken from the root",
    async (t) => {
      const { status, stdout } = await t.run("stat -c %F /dev/f", (config) => {
        config.linux.devices = [{ ...fuse, path: "dev/f" }];
      });
      if (status === 0) assert.equal(stdout.trim(), "character special file");
    },
  ),

  allowed("MUST", "device-denied", "a device that no rule allows cannot be opened", async (t) => {
    assert.equal(await t.probe(tryFuse, withFuse()), "");
  }),
  ...(
    [
      ["r", "read"],
      ["w", "written"],
      ["m", ""],
      ["rw", "read written"],
      ["rwm", "read written"],
    ] as const
  ).map(([access, expected]) =>
    allowed("MUST", `device-access-${access}`, `access ${access} allows just that`, async (t) => {
      const out = await t.probe(tryFuse, withFuse({ allow: true, ...fuse, access }));
      assert.equal(out, expected);
    }),
  ),
  allowed("MUST", "device-mknod", "access m allows making the device", async (t) => {
    assert.equal(await t.probe(makeFuse, rules({ allow: true, ...fuse, access: "m" })), "made");
  }),
  allowed(
    "MUST",
    "device-mknod-denied",
    "a device that no rule allows cannot be made",
    async (t) => {
      assert.equal(await t.probe(makeFuse, rules()), "refused");
    },
  ),
  allowed(
    "MUST",
    "device-order",
    "rules count in their order: a later denial takes back what was allowed",
    async (t) => {
      const edit = withFuse(
        { allow: true, ...fuse, access: "rwm" },
        { allow: false, ...fuse, access: "w" },
      );
      assert.equal(await t.probe(tryFuse, edit), "read");
    },
  ),
  allowed(
    "MUST",
    "device-order-allow",
    "a later permission overrides an earlier denial",
    async (t) => {
      const edit = withFuse(
        { allow: false, ...fuse, access: "rwm" },
        { allow: true, ...fuse, access: "r" },
      );
      assert.equal(await t.probe(tryFuse, edit), "read");
    },
  ),
  allowed("MUST", "device-all", "a rule without type and numbers allows everything", async (t) => {
    assert.equal(await t.probe(tryFuse, withFuse({ allow: true, access: "rwm" })), "read written");
  }),
  allowed("MUST", "device-wildcard", "a rule without minor allows all of that major", async (t) => {
    const edit = withFuse({ allow: true, type: "c", major: 10, access: "r" });
    assert.equal(await t.probe(tryFuse, edit), "read");
  }),
  allowed(
    "MUST",
    "device-default-allowed",
    "default devices work although everything is denied",
    async (t) => {
      const out = await t.probe(
        "for d in null zero full random urandom tty; do (: < /dev/$d) 2>&1 | grep -i permitted; done; echo x > /dev/null && echo ok",
      );
      assert.equal(out, "ok");
    },
  ),

  network(
    "MUST",
    "netdev-moved",
    "a network device moves into the container, keeps its name and address and is up",
    async (t) => {
      const name = hostDevice(t);
      const out = await t.probe(`ip addr show ${name}`, (config) => {
        config.linux.netDevices = { [name]: {} };
      });
      assert.match(out, /192\.0\.2\.9\/24/);
      assert.match(out, /<[^>]*\bUP\b/);
    },
  ),
  network(
    "MUST",
    "netdev-renamed",
    "a network device gets the name it should have inside",
    async (t) => {
      const name = hostDevice(t);
      const out = await t.probe("ip addr show inside0", (config) => {
        config.linux.netDevices = { [name]: { name: "inside0" } };
      });
      assert.match(out, /192\.0\.2\.9\/24/);
    },
  ),
  network("MUST", "netdev-missing", "a network device that is not there is refused", async (t) => {
    await t.refused((config) => {
      config.linux.netDevices = { nodev0: {} };
    });
  }),
  network("MUST", "netdev-name-taken", "a name that is in use inside is refused", async (t) => {
    const name = hostDevice(t);
    await t.refused((config) => {
      config.linux.netDevices = { [name]: { name: "lo" } };
    });
  }),
];

let devices = 0;

/** A veth pair of the row's own with an address; whichever end still exists is deleted later. */
function hostDevice(t: Trial): string {
  devices += 1;
  const name = `mwc${process.pid % 10_000}n${devices}`;
  const ip = (...args: readonly string[]) => spawnSync("ip", args, { encoding: "utf8" });
  const made = ip("link", "add", name, "type", "veth", "peer", "name", `${name}p`);
  assert.equal(made.status, 0, made.stderr);
  t.onClose(() => void ip("link", "del", `${name}p`));
  ip("addr", "add", "192.0.2.9/24", "dev", name);
  return name;
}
