/** config-linux.md, "Namespaces", user namespace mappings, time offsets; config.md, host names. */
import assert from "node:assert/strict";
import { readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { namespace } from "../machine.ts";
import { rowsOf } from "../row.ts";
import type { Edit } from "../trial.ts";

const row = rowsOf("config-linux.md, Namespaces");
const mapping = rowsOf("config-linux.md, User namespace mappings");
const time = rowsOf("config-linux.md, Offset for Time Namespace");
const name = rowsOf("config.md, Hostname and Domainname");

/** The specification's word for a namespace → the kernel's file in /proc/PID/ns. */
const files: Readonly<Record<string, string>> = {
  pid: "pid",
  network: "net",
  mount: "mnt",
  ipc: "ipc",
  uts: "uts",
  user: "user",
  cgroup: "cgroup",
  time: "time",
};

function own(type: string): string {
  return readlinkSync(`/proc/self/ns/${files[type]}`);
}

/** Adds a namespace, new or joined; a user namespace brings its mappings. */
function withNamespace(type: string, path?: string): Edit {
  return (config) => {
    config.linux.namespaces = config.linux.namespaces.filter((entry) => entry.type !== type);
    config.linux.namespaces.push(path === undefined ? { type } : { type, path });
    if (type === "user" && path === undefined) mapIds(100_000)(config);
  };
}

function without(type: string): Edit {
  return (config) => {
    config.linux.namespaces = config.linux.namespaces.filter((entry) => entry.type !== type);
  };
}

/** Maps the container's first 1000 IDs, and lets its root own the root file system's folder. */
function mapIds(hostID: number): Edit {
  return (config) => {
    config.linux.namespaces = config.linux.namespaces.filter((entry) => entry.type !== "user");
    config.linux.namespaces.push({ type: "user" });
    config.linux.uidMappings = [{ containerID: 0, hostID, size: 1000 }];
    config.linux.gidMappings = [{ containerID: 0, hostID, size: 1000 }];
  };
}

const created = ["pid", "network", "mount", "ipc", "uts", "cgroup", "user", "time"];
const joinable = ["pid", "network", "ipc", "uts", "user", "cgroup", "time"];

export const namespaceRows = [
  ...created.map((type) =>
    row(
      "MUST",
      `ns-new-${type}`,
      `a ${type} namespace without path is a new one`,
      async (t) => {
        const container = await t.started("sleep 100", withNamespace(type));
        assert.notEqual(container.namespaceOf(files[type] ?? type), own(type));
      },
      { needs: [namespace(files[type] ?? type)] },
    ),
  ),
  ...["network", "ipc", "uts", "cgroup", "time", "pid"].map((type) =>
    row(
      "MUST",
      `ns-inherit-${type}`,
      `without a ${type} namespace the container has the runtime's`,
      async (t) => {
        const container = await t.started("sleep 100", (config) => {
          without(type)(config);
          if (type === "uts") delete config.hostname;
          // sysfs belongs to a network namespace: with the host's it cannot be mounted anew here.
          if (type === "network")
            config.mounts = config.mounts.filter(({ type: fs }) => fs !== "sysfs");
          if (type === "ipc")
            config.mounts = config.mounts.filter(({ type: fs }) => fs !== "mqueue");
        });
        assert.equal(container.namespaceOf(files[type] ?? type), own(type));
      },
      { needs: [namespace(files[type] ?? type)] },
    ),
  ),
  ...joinable.map((type) =>
    row(
      "MUST",
      `ns-join-${type}`,
      `a ${type} namespace with a path is joined`,
      async (t) => {
        const first = await t.started("sleep 100", withNamespace(type));
        const path = `/proc/${first.pid}/ns/${files[type]}`;
        const second = await t.started("sleep 100", (config) => {
          config.linux.cgroupsPath = t.cgroupsPathFor("-second");
          withNamespace(type, path)(config);
          if (type === "uts") delete config.hostname;
          if (type === "user") {
            delete config.linux.uidMappings;
            delete config.linux.gidMappings;
          }
        });
        assert.equal(second.namespaceOf(files[type] ?? type), readlinkSync(path));
      },
      { needs: [namespace(files[type] ?? type)] },
    ),
  ),
  ...(["none", "its own"] as const).map((user) =>
    row(
      "MUST",
      user === "none" ? "ns-join-foreign" : "ns-join-foreign-user",
      `a network namespace that another user namespace owns is joined by a container with ${user}`,
      async (t) => {
        const first = await t.started("sleep 100", (config) => {
          withNamespace("user")(config);
          withNamespace("network")(config);
        });
        const path = `/proc/${first.pid}/ns/net`;
        const second = await t.started("sleep 100", (config) => {
          config.linux.cgroupsPath = t.cgroupsPathFor("-second");
          without("user")(config);
          delete config.linux.uidMappings;
          delete config.linux.gidMappings;
          if (user !== "none") mapIds(200_000)(config);
          withNamespace("network", path)(config);
          // sysfs shows the network namespace, whose owner alone may mount it.
          config.mounts = config.mounts.filter(({ type }) => type !== "sysfs");
        });
        assert.equal(second.namespaceOf("net"), readlinkSync(path));
        if (user !== "none") assert.notEqual(second.namespaceOf("user"), first.namespaceOf("user"));
      },
      { needs: [namespace("user")] },
    ),
  ),
  row(
    "MUST",
    "ns-join-wrong-type",
    "a path that is a namespace of another type is refused",
    async (t) => {
      await t.refused(withNamespace("network", "/proc/self/ns/uts"));
    },
  ),
  row("MUST", "ns-join-no-namespace", "a path that is no namespace is refused", async (t) => {
    await t.refused(withNamespace("network", "/etc/passwd"));
  }),
  row("MUST", "ns-join-missing", "a path that is not there is refused", async (t) => {
    await t.refused(withNamespace("network", "/proc/self/ns/nothing"));
  }),
  row("MUST", "ns-join-relative", "a relative path is refused", async (t) => {
    await t.refused(withNamespace("network", "proc/self/ns/net"));
  }),
  row("MUST", "ns-duplicate", "two namespaces of one type are refused", async (t) => {
    await t.refused((config) => {
      config.linux.namespaces.push({ type: "uts" });
    });
  }),
  row("MUST", "ns-unknown", "a namespace type that does not exist is refused", async (t) => {
    await t.refused(withNamespace("nothing"));
  }),
  row(
    "MUST",
    "ns-pid-init",
    "in a new pid namespace the program is process 1 and sees only its own",
    async (t) => {
      const [own, seen] = (await t.probe("echo $$; ls /proc | grep -c '^[0-9]'")).split("\n");
      assert.equal(own, "1");
      assert.ok(Number(seen) <= 3, `${seen} processes`); // the shell, ls, grep
    },
  ),
  row(
    "MUST",
    "ns-network-empty",
    "a new network namespace has the loopback device only",
    async (t) => {
      const out = await t.probe("ls /sys/class/net");
      assert.deepEqual(
        out
          .split(/\s+/)
          .filter((device) => !/^(tunl|sit|ip6|gre|erspan|ip_vti|bonding)/.test(device)),
        ["lo"],
      );
    },
  ),
  row(
    "MUST",
    "ns-mount-isolated",
    "mounts of the container are not seen by the host",
    async (t) => {
      const container = await t.started("sleep 100", (config) => {
        config.mounts.push({ destination: "/only-inside", type: "tmpfs", source: "tmpfs" });
      });
      assert.match(container.proc("mountinfo"), /only-inside/);
      assert.doesNotMatch(readFileSync("/proc/self/mountinfo", "utf8"), /only-inside/);
    },
  ),
  row(
    "MUST",
    "ns-cgroup-view",
    "in a new cgroup namespace the container's own cgroup is the root",
    async (t) => {
      const container = await t.started("sleep 100", withNamespace("cgroup"));
      const inside = await container.exec("cat /proc/1/cgroup");
      for (const line of inside.split("\n")) assert.match(line, /:\/$/);
    },
    { needs: [namespace("cgroup")] },
  ),

  mapping("MUST", "userns-map", "uid and gid mappings are those of config.json", async (t) => {
    const out = await t.probe("cat /proc/self/uid_map /proc/self/gid_map; id -u", (config) => {
      mapIds(100_000)(config);
      config.linux.gidMappings = [{ containerID: 0, hostID: 200_000, size: 500 }];
    });
    const lines = out.split("\n").map((line) => line.trim().split(/\s+/).join(" "));
    assert.deepEqual(lines, ["0 100000 1000", "0 200000 500", "0"]);
  }),
  mapping("MUST", "userns-map-several", "several mappings are applied", async (t) => {
    const out = await t.probe("cat /proc/self/uid_map", (config) => {
      mapIds(100_000)(config);
      config.linux.uidMappings?.push({ containerID: 5000, hostID: 300_000, size: 10 });
    });
    assert.match(out, /5000\s+300000\s+10/);
  }),
  mapping("MUST", "userns-user", "the program's uid is one of the container's", async (t) => {
    const container = await t.started("sleep 100", (config) => {
      mapIds(100_000)(config);
      config.process.user = { uid: 7, gid: 8 };
    });
    assert.match(container.proc("status"), /Uid:\t100007\t100007/);
    assert.match(container.proc("status"), /Gid:\t100008\t100008/);
  }),
  mapping("MUST", "userns-unmapped-user", "a uid without mapping is refused", async (t) => {
    await t.refused((config) => {
      mapIds(100_000)(config);
      config.process.user = { uid: 5000, gid: 0 };
    });
  }),
  mapping(
    "SHOULD",
    "userns-ownership",
    "the runtime does not change who owns the root file system's files",
    async (t) => {
      await t.probe("true", mapIds(100_000));
      assert.equal(statSync(`${t.rootfs}/bin/busybox`).uid, 0);
      assert.equal(statSync(`${t.rootfs}/etc/passwd`).uid, 0);
    },
  ),
  mapping("MUST", "userns-devices", "default devices are there in a user namespace", async (t) => {
    const out = await t.probe(
      "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; echo x > /dev/null && echo ok",
      mapIds(100_000),
    );
    assert.equal(out, "ok");
  }),
  mapping("MUST", "userns-oom-score", "oomScoreAdj is set in a user namespace", async (t) => {
    const out = await t.probe("cat /proc/self/oom_score_adj", (config) => {
      mapIds(100_000)(config);
      config.process.oomScoreAdj = 200;
    });
    assert.equal(out, "200");
  }),
  mapping(
    "MUST",
    "userns-with-all",
    "a user namespace goes with seccomp, sysctl, masked and read-only paths, devices, limits and another user",
    async (t) => {
      writeFileSync(`${t.rootfs}/etc/secret`, "secret");
      const out = await t.probe(
        "id -u; pwd; cat /etc/secret; cat /proc/sys/net/ipv4/ip_default_ttl; (: > /proc/sys/kernel/domainname) 2>/dev/null || echo protected; stat -c %t:%T /dev/fuse; grep Seccomp: /proc/self/status",
        (config) => {
          mapIds(100_000)(config);
          config.process.user = { uid: 5, gid: 6, additionalGids: [7] };
          config.process.cwd = "/tmp";
          config.linux.seccomp = {
            defaultAction: "SCMP_ACT_ALLOW",
            syscalls: [{ names: ["personality"], action: "SCMP_ACT_ERRNO" }],
          };
          config.linux.sysctl = { "net.ipv4.ip_default_ttl": "70" };
          config.linux.maskedPaths = ["/etc/secret"];
          config.linux.readonlyPaths = ["/proc/sys"];
          config.linux.devices = [
            { type: "c", path: "/dev/fuse", major: 10, minor: 229, fileMode: 0o666 },
          ];
          config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 100, hard: 100 }];
        },
      );
      assert.equal(out, "5\n/tmp\n70\nprotected\na:e5\nSeccomp:\t2");
    },
  ),
  mapping(
    "MUST",
    "userns-exec",
    "exec joins the user namespace and becomes its root",
    async (t) => {
      const container = await t.started("sleep 100", mapIds(100_000));
      assert.equal(
        await container.exec(
          "id -u; tr -s ' ' < /proc/self/uid_map; touch /tmp/x 2>/dev/null; echo $?",
        ),
        "0\n 0 100000 1000\n1",
      );
    },
  ),
  mapping(
    "MUST",
    "userns-missing-mappings",
    "a new user namespace without mappings is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.namespaces.push({ type: "user" });
      });
    },
  ),
  mapping("MUST", "userns-overlapping", "mappings that overlap are refused", async (t) => {
    await t.refused((config) => {
      mapIds(100_000)(config);
      config.linux.uidMappings?.push({ containerID: 10, hostID: 500_000, size: 10 });
    });
  }),

  time(
    "MUST",
    "timens-boottime",
    "timeOffsets.boottime moves the container's clock",
    async (t) => {
      const out = await t.probe("cut -d. -f1 /proc/uptime", (config) => {
        withNamespace("time")(config);
        config.linux.timeOffsets = { boottime: { secs: 1_000_000, nanosecs: 0 } };
      });
      const host = Number(readFileSync("/proc/uptime", "utf8").split(".")[0]);
      assert.ok(Math.abs(Number(out) - host - 1_000_000) < 60, `uptime ${out}, host ${host}`);
    },
    { needs: [namespace("time")] },
  ),
  time(
    "MUST",
    "timens-monotonic",
    "timeOffsets.monotonic is set",
    async (t) => {
      const out = await t.probe("cat /proc/self/timens_offsets", (config) => {
        withNamespace("time")(config);
        config.linux.timeOffsets = { monotonic: { secs: 500, nanosecs: 7 } };
      });
      assert.match(out, /monotonic\s+500\s+7\b/);
    },
    { needs: [namespace("time")] },
  ),
  time(
    "MUST",
    "timens-without-namespace",
    "timeOffsets without a time namespace are refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.timeOffsets = { monotonic: { secs: 500 } };
      });
    },
    { needs: [namespace("time")] },
  ),

  name(
    "MUST",
    "hostname",
    "hostname is what the container sees, and not what the host sees",
    async (t) => {
      assert.equal(
        await t.probe("hostname", (config) => {
          config.hostname = "mrs-dalloway";
        }),
        "mrs-dalloway",
      );
      assert.notEqual(readFileSync("/proc/sys/kernel/hostname", "utf8").trim(), "mrs-dalloway");
    },
  ),
  name(
    "MUST",
    "hostname-without-uts",
    "a hostname without a UTS namespace of the container is refused",
    async (t) => {
      await t.refused(without("uts"));
    },
  ),
  name("MUST", "domainname", "domainname is what the container sees", async (t) => {
    assert.equal(
      await t.probe("cat /proc/sys/kernel/domainname", (config) => {
        config.domainname = "conformance.test";
      }),
      "conformance.test",
    );
  }),
  name(
    "MUST",
    "domainname-without-uts",
    "a domainname without a UTS namespace of the container is refused",
    async (t) => {
      await t.refused((config) => {
        delete config.hostname;
        config.domainname = "conformance.test";
        without("uts")(config);
      });
    },
  ),
];
