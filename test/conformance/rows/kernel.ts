/** sysctl, personality, memory policy, Intel RDT, security modules; and what config.json may not say. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { file } from "../machine.ts";
import { rowsOf } from "../row.ts";

const sysctl = rowsOf("config-linux.md, Sysctl");
const personality = rowsOf("config-linux.md, Personality");
const memoryPolicy = rowsOf("config-linux.md, Memory policy");
const rdt = rowsOf("config-linux.md, IntelRdt");
const labels = rowsOf("config.md, Linux Process (security modules)");
const extensibility = rowsOf("config.md, Extensibility and Valid values");

export const kernelRows = [
  sysctl("MUST", "sysctl-ipc", "a sysctl of the IPC namespace is set", async (t) => {
    const own = readFileSync("/proc/sys/kernel/shmmni", "utf8");
    assert.equal(
      await t.probe("cat /proc/sys/kernel/shmmni", (config) => {
        config.linux.sysctl = { "kernel.shmmni": "123" };
      }),
      "123",
    );
    assert.equal(readFileSync("/proc/sys/kernel/shmmni", "utf8"), own);
  }),
  sysctl("MUST", "sysctl-net", "a sysctl of the network namespace is set", async (t) => {
    assert.equal(
      await t.probe("cat /proc/sys/net/ipv4/ip_forward", (config) => {
        config.linux.sysctl = { "net.ipv4.ip_forward": "1" };
      }),
      "1",
    );
  }),
  sysctl("MUST", "sysctl-slash", "a sysctl written with slashes is set", async (t) => {
    assert.equal(
      await t.probe("cat /proc/sys/net/ipv4/ip_default_ttl", (config) => {
        config.linux.sysctl = { "net/ipv4/ip_default_ttl": "77" };
      }),
      "77",
    );
  }),
  sysctl("MUST", "sysctl-mqueue", "a sysctl of POSIX message queues is set", async (t) => {
    assert.equal(
      await t.probe("cat /proc/sys/fs/mqueue/queues_max", (config) => {
        config.linux.sysctl = { "fs.mqueue.queues_max": "42" };
      }),
      "42",
    );
  }),
  sysctl(
    "MUST",
    "sysctl-host-refused",
    "a sysctl that would change the host is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.sysctl = {
          "vm.swappiness": readFileSync("/proc/sys/vm/swappiness", "utf8").trim(),
        };
      });
    },
  ),
  sysctl(
    "MUST",
    "sysctl-host-network-refused",
    "a network sysctl without a network namespace is refused",
    async (t) => {
      const value = readFileSync("/proc/sys/net/ipv4/ip_default_ttl", "utf8").trim();
      await t.refused((config) => {
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "network");
        config.mounts = config.mounts.filter(({ type }) => type !== "sysfs");
        config.linux.sysctl = { "net.ipv4.ip_default_ttl": value };
      });
    },
  ),
  sysctl("MUST", "sysctl-missing", "a sysctl that does not exist is refused", async (t) => {
    await t.refused((config) => {
      config.linux.sysctl = { "net.ipv4.no_such_thing": "1" };
    });
  }),

  personality(
    "MUST",
    "personality-linux32",
    "personality LINUX32 makes uname say i686",
    async (t) => {
      assert.equal(
        await t.probe("uname -m", (config) => {
          config.linux.personality = { domain: "LINUX32" };
        }),
        "i686",
      );
    },
  ),
  personality("MUST", "personality-linux", "personality LINUX leaves uname as it is", async (t) => {
    assert.equal(
      await t.probe("uname -m", (config) => {
        config.linux.personality = { domain: "LINUX" };
      }),
      "x86_64",
    );
  }),
  personality(
    "MUST",
    "personality-unknown",
    "a personality that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux, { personality: { domain: "VMS" } });
      });
    },
  ),

  memoryPolicy(
    "MUST",
    "memory-policy",
    "memoryPolicy is the program's",
    async (t) => {
      const out = await t.probe("head -1 /proc/self/numa_maps", (config) => {
        config.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "0" };
      });
      assert.match(out, /bind[^ ]*:0/);
    },
    { needs: [file("/proc/self/numa_maps", "the kernel has no NUMA policies")] },
  ),
  memoryPolicy(
    "MUST",
    "memory-policy-unknown",
    "a memory policy that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux, { memoryPolicy: { mode: "MPOL_NOTHING" } });
      });
    },
  ),
  memoryPolicy(
    "MUST",
    "memory-policy-nodes-refused",
    "nodes for a mode that takes none are refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.memoryPolicy = { mode: "MPOL_DEFAULT", nodes: "0" };
      });
    },
  ),
  rdt(
    "MUST",
    "intel-rdt-missing",
    "intelRdt without a resctrl file system is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.intelRdt = { closID: "group" };
      });
    },
    {
      needs: [
        () =>
          / resctrl /.test(readFileSync("/proc/self/mountinfo", "utf8"))
            ? "resctrl is mounted"
            : undefined,
      ],
    },
  ),
  labels(
    "MUST",
    "apparmor-missing",
    "an AppArmor profile on a kernel without AppArmor is refused",
    async (t) => {
      await t.refused((config) => {
        config.process.apparmorProfile = "acme";
      });
    },
    { needs: [() => (existsSync("/sys/module/apparmor") ? "the kernel has AppArmor" : undefined)] },
  ),
  labels(
    "MUST",
    "selinux-missing",
    "an SELinux label on a kernel without SELinux is refused",
    async (t) => {
      await t.refused((config) => {
        config.process.selinuxLabel = "system_u:system_r:svirt_lxc_net_t:s0";
      });
    },
    {
      needs: [() => (existsSync("/sys/fs/selinux/enforce") ? "the kernel has SELinux" : undefined)],
    },
  ),

  extensibility(
    "MUST",
    "unknown-properties",
    "unknown properties are ignored, at every level",
    async (t) => {
      await t.probe("true", (config) => {
        Object.assign(config, { future: { a: 1 } });
        Object.assign(config.process, { future: true });
        Object.assign(config.linux, { future: [1, 2] });
        Object.assign(config.root, { future: null });
      });
    },
  ),
  extensibility("MUST", "unknown-annotations", "unknown annotations are ignored", async (t) => {
    await t.probe("true", (config) => {
      config.annotations = { "org.example.unknown": "x" };
    });
  }),
  extensibility(
    "MUST",
    "future-minor-version",
    "a config of a later 1.x version is accepted",
    async (t) => {
      await t.probe("true", (config) => {
        config.ociVersion = "1.3.0";
      });
    },
  ),
  extensibility(
    "MUST",
    "other-major-version",
    "a config of another major version is refused",
    async (t) => {
      await t.refused((config) => {
        config.ociVersion = "2.0.0";
      });
    },
  ),
  extensibility("MUST", "version-missing", "a config without ociVersion is refused", async (t) => {
    await t.refused((config) => {
      delete (config as { ociVersion?: string }).ociVersion;
    });
  }),
  extensibility("MUST", "invalid-types", "values of a wrong type are refused", async (t) => {
    await t.refused((config) => {
      Object.assign(config.process, { cwd: 7 });
    });
  }),
];
