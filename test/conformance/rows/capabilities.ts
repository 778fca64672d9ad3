/** config.md, "Linux Process": the five capability sets. */
import assert from "node:assert/strict";
import { rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("config.md, Linux Process (capabilities)");

/** Bits of linux/capability.h that the rows use. */
const bits: Readonly<Record<string, number>> = {
  CAP_CHOWN: 0,
  CAP_KILL: 5,
  CAP_SETPCAP: 8,
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_RAW: 13,
  CAP_AUDIT_WRITE: 29,
};

function mask(names: readonly string[]): bigint {
  return names.reduce((sum, name) => sum | (1n << BigInt(bits[name] ?? 63)), 0n);
}

interface Sets {
  readonly CapInh: bigint;
  readonly CapPrm: bigint;
  readonly CapEff: bigint;
  readonly CapBnd: bigint;
  readonly CapAmb: bigint;
}

function parseSets(status: string): Sets {
  const read = (name: string) =>
    BigInt(`0x${new RegExp(`${name}:\\s*(\\w+)`).exec(status)?.[1] ?? "0"}`);
  return {
    CapInh: read("CapInh"),
    CapPrm: read("CapPrm"),
    CapEff: read("CapEff"),
    CapBnd: read("CapBnd"),
    CapAmb: read("CapAmb"),
  };
}

type CapabilityConfig = Trial["config"]["process"]["capabilities"];

/** The sets of the container's program, read by a program that changes none: cat, not a shell. */
async function setsOf(t: Trial, capabilities: CapabilityConfig | undefined, uid = 0) {
  const status = await t.probe("", (config) => {
    config.process.args = ["/bin/cat", "/proc/self/status"];
    config.process.user = { uid, gid: uid };
    if (capabilities === undefined)
      delete (config.process as { capabilities?: unknown }).capabilities;
    else config.process.capabilities = capabilities;
  });
  return parseSets(status);
}

const two = ["CAP_CHOWN", "CAP_KILL"];

export const capabilityRows = [
  row("MUST", "caps-bounding", "bounding holds what is listed and nothing else", async (t) => {
    const sets = await setsOf(t, { bounding: two });
    assert.equal(sets.CapBnd, mask(two));
  }),
  row("MUST", "caps-root", "root's permitted and effective are what is listed", async (t) => {
    const sets = await setsOf(t, { bounding: two, permitted: two, effective: two });
    assert.equal(sets.CapPrm, mask(two));
    assert.equal(sets.CapEff, mask(two));
    assert.equal(sets.CapInh, 0n);
    assert.equal(sets.CapAmb, 0n);
  }),
  row("MUST", "caps-none", "without any capability root has none", async (t) => {
    const none = { bounding: [], permitted: [], effective: [], inheritable: [], ambient: [] };
    const sets = await setsOf(t, none);
    for (const [name, value] of Object.entries(sets)) assert.equal(value, 0n, name);
  }),
  row("MUST", "caps-inheritable", "inheritable is set when listed", async (t) => {
    const sets = await setsOf(t, {
      bounding: two,
      permitted: two,
      effective: two,
      inheritable: ["CAP_KILL"],
    });
    assert.equal(sets.CapInh, mask(["CAP_KILL"]));
  }),
  row(
    "MUST",
    "caps-ambient",
    "ambient capabilities reach a program that is not root",
    async (t) => {
      const ambient = ["CAP_NET_BIND_SERVICE"];
      const all = { bounding: ambient, permitted: ambient, effective: ambient };
      const sets = await setsOf(t, { ...all, inheritable: ambient, ambient }, 1000);
      assert.equal(sets.CapAmb, mask(ambient));
      assert.equal(sets.CapEff, mask(ambient));
      assert.equal(sets.CapPrm, mask(ambient));
    },
  ),
  row(
    "MUST",
    "caps-user-drops",
    "a program that is not root has no effective capability without ambient",
    async (t) => {
      const sets = await setsOf(t, { bounding: two, permitted: two, effective: two }, 1000);
      assert.equal(sets.CapEff, 0n);
      assert.equal(sets.CapPrm, 0n);
      assert.equal(sets.CapBnd, mask(two));
    },
  ),
  row(
    "SHOULD",
    "caps-unknown",
    "a capability that does not exist is warned of, not refused",
    async (t) => {
      const container = await t.create("true", (config) => {
        config.process.capabilities.bounding?.push("CAP_NOTHING");
      });
      assert.equal(await container.status(), "created");
    },
  ),
  row(
    "SHOULD",
    "caps-not-grantable",
    "a capability that the runtime itself lacks is warned of, not refused",
    async (t) => {
      const [name] = missingCapability(t.machine.capabilities);
      const all = [...two, name];
      const sets = await setsOf(t, { bounding: all, permitted: all, effective: all });
      assert.equal(sets.CapEff, mask(two));
    },
    {
      needs: [
        (machine) =>
          missingCapability(machine.capabilities)[0] ? undefined : "root has all capabilities here",
      ],
    },
  ),
  row("MUST", "caps-effect", "what a capability allows is refused without it", async (t) => {
    const { stdout } = await t.run("chown 5:5 /etc/group; stat -c %u /etc/group", (config) => {
      config.process.capabilities = {
        bounding: ["CAP_KILL"],
        effective: ["CAP_KILL"],
        permitted: ["CAP_KILL"],
      };
    });
    assert.equal(stdout.trim(), "0");
  }),
  row(
    "MUST",
    "caps-exec",
    "exec gives its process the container's capabilities, not the runtime's",
    async (t) => {
      const container = await t.started("sleep 100");
      const sets = parseSets(await container.exec("cat /proc/$$/status"));
      const own = parseSets(container.proc("status"));
      assert.deepEqual(sets, own);
    },
  ),
];

function missingCapability(have: bigint): readonly [string] | readonly [""] {
  if (((have >> 24n) & 1n) === 0n) return ["CAP_SYS_RESOURCE"];
  if (((have >> 21n) & 1n) === 0n) return ["CAP_SYS_ADMIN"];
  return [""];
}
