/** config-linux.md, "Seccomp", asked with a program that makes one system call. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { syscallsX86_64 } from "../../../linux/index.ts";
import type { BundleConfig } from "../bundle.ts";
import { listen } from "../console.ts";
import { until } from "../processes.ts";
import { CannotCheck, type Row, rowsOf } from "../row.ts";
import { type CallAbi, callProgram } from "../tiny-elf.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("config-linux.md, Seccomp");
const notify = rowsOf("config-linux.md, The Container Process State");

type Seccomp = NonNullable<BundleConfig["linux"]["seccomp"]>;
type Rule = NonNullable<Seccomp["syscalls"]>[number];

/** System call numbers of asm/unistd_64.h and, where named so, unistd_32.h. */
const nr = { personality: 135, lseek: 8, umask: 95, i386Personality: 136 };

/** personality(0xffffffff) only asks; nothing that leads up to the program calls it. */
const query = 0xffff_ffff;

/** An errno that none of the calls gives by itself. */
const filtered = 77;

/** Runs the one-call program in a container with this filter; its errno. */
async function errnoOf(
  t: Trial,
  seccomp: Seccomp,
  call: readonly (number | bigint | string)[],
  abi: CallAbi = "x86-64",
): Promise<number> {
  return (await outcomeOf(t, seccomp, call, abi)).status;
}

async function outcomeOf(
  t: Trial,
  seccomp: Seccomp,
  call: readonly (number | bigint | string)[],
  abi: CallAbi = "x86-64",
) {
  writeFileSync(`${t.rootfs}/call`, callProgram(abi), { mode: 0o755 });
  return t.run("", (config) => {
    config.process.args = ["/call", ...call.map(String)];
    config.linux.seccomp = seccomp;
  });
}

function denies(rule: Omit<Rule, "action" | "errnoRet">): Seccomp {
  const syscalls = [{ ...rule, action: "SCMP_ACT_ERRNO", errnoRet: filtered } as const];
  return { defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"], syscalls };
}

interface Comparison {
  readonly op: NonNullable<Rule["args"]>[number]["op"];
  readonly value: number;
  readonly valueTwo?: number;
  /** Signal numbers (the call is kill(0, N), N ≥ 1000 is EINVAL) that match, and that do not. */
  readonly matches: readonly bigint[];
  readonly others: readonly bigint[];
}

const big = 2 ** 32;

// biome-ignore format: table
const comparisons: readonly Comparison[] = [
  { op: "SCMP_CMP_EQ", value: 5000,     matches: [5000n],                others: [4999n, 5001n, 5000n + BigInt(big)] },
  { op: "SCMP_CMP_NE", value: 5000,     matches: [4999n, 5000n + BigInt(big)], others: [5000n] },
  { op: "SCMP_CMP_LT", value: 5000,     matches: [4999n, 1000n],         others: [5000n, 5001n, BigInt(big)] },
  { op: "SCMP_CMP_LE", value: 5000,     matches: [5000n, 1000n],         others: [5001n, BigInt(big)] },
  { op: "SCMP_CMP_GT", value: 5000,     matches: [5001n, BigInt(big)],   others: [5000n, 1000n] },
  { op: "SCMP_CMP_GE", value: 5000,     matches: [5000n, BigInt(big)],   others: [4999n] },
  { op: "SCMP_CMP_EQ", value: 3 * big,  matches: [3n * BigInt(big)],     others: [0n, BigInt(big), 3n * BigInt(big) + 1n] },
  { op: "SCMP_CMP_GT", value: 3 * big,  matches: [3n * BigInt(big) + 1n, 4n * BigInt(big)], others: [3n * BigInt(big), 0xffff_ffffn] },
  { op: "SCMP_CMP_LT", value: 3 * big,  matches: [2n * BigInt(big) + 7n, 9n], others: [3n * BigInt(big), 4n * BigInt(big)] },
  { op: "SCMP_CMP_MASKED_EQ", value: 0xf0, valueTwo: 0x50, matches: [0x1050n, 0x105fn], others: [0x1060n, 0x1000n] },
];

function comparisonRow({ op, value, valueTwo, matches, others }: Comparison): Row {
  const id = `seccomp-arg-${op.slice(9).toLowerCase()}-${value}`;
  const claim = `${op} ${value} compares all 64 bits of the argument`;
  return row("MUST", id, claim, async (t) => {
    // lseek(-1, N, 0) fails with EBADF whatever N is, and N is 64 bits wide.
    const argument = { index: 1, value, op, ...(valueTwo === undefined ? {} : { valueTwo }) };
    const seccomp = denies({ names: ["lseek"], args: [argument] });
    for (const number of matches)
      assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, number]), filtered, `${number}`);
    for (const number of others)
      assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, number]), 9, `${number}`);
  });
}

export const seccompRows: readonly Row[] = [
  row("MUST", "seccomp-mode", "the program runs in filter mode", async (t) => {
    const out = await t.probe("grep '^Seccomp:' /proc/self/status", (config) => {
      config.linux.seccomp = denies({ names: ["personality"] });
    });
    assert.match(out, /2$/);
  }),
  row("MUST", "seccomp-absent", "without seccomp there is no filter", async (t) => {
    assert.match(await t.probe("grep '^Seccomp:' /proc/self/status"), /0$/);
  }),
  row("MUST", "seccomp-errno", "SCMP_ACT_ERRNO returns errnoRet", async (t) => {
    assert.equal(
      await errnoOf(t, denies({ names: ["personality"] }), [nr.personality, query]),
      filtered,
    );
  }),
  row(
    "MUST",
    "seccomp-errno-default",
    "SCMP_ACT_ERRNO returns EPERM without errnoRet",
    async (t) => {
      const syscalls: Rule[] = [{ names: ["personality"], action: "SCMP_ACT_ERRNO" }];
      assert.equal(
        await errnoOf(t, { defaultAction: "SCMP_ACT_ALLOW", syscalls }, [nr.personality, query]),
        1,
      );
    },
  ),
  row("MUST", "seccomp-errno-zero", "an errnoRet of 0 is not taken for absent", async (t) => {
    const syscalls: Rule[] = [{ names: ["lseek"], action: "SCMP_ACT_ERRNO", errnoRet: 0 }];
    const seccomp: Seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls };
    assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 0]), 0);
  }),
  row(
    "MUST",
    "seccomp-default-errno",
    "defaultErrnoRet is the default action's errno",
    async (t) => {
      const seccomp: Seccomp = {
        defaultAction: "SCMP_ACT_ERRNO",
        defaultErrnoRet: 38,
        syscalls: [{ names: allButTarget, action: "SCMP_ACT_ALLOW" }],
      };
      assert.equal(await errnoOf(t, seccomp, [nr.personality, query]), 38);
    },
  ),
  row(
    "MUST",
    "seccomp-others-allowed",
    "calls without a rule get the default action",
    async (t) => {
      assert.equal(await errnoOf(t, denies({ names: ["personality"] }), [nr.umask, 18]), 0);
    },
  ),
  row("MUST", "seccomp-several-names", "all names of a rule are covered", async (t) => {
    const seccomp = denies({ names: ["personality", "umask"] });
    assert.equal(await errnoOf(t, seccomp, [nr.umask, 18]), filtered);
  }),
  row(
    "MUST",
    "seccomp-unknown-name",
    "names that the kernel does not know are passed over",
    async (t) => {
      const seccomp = denies({ names: ["personality", "no_such_call"] });
      assert.equal(await errnoOf(t, seccomp, [nr.personality, query]), filtered);
    },
  ),
  ...(["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] as const).map((action) =>
    row(
      "MUST",
      `seccomp-${action.slice(9).toLowerCase().replace("_", "-")}`,
      `${action} ends the program with SIGSYS`,
      async (t) => {
        const syscalls: Rule[] = [{ names: ["personality"], action }];
        assert.equal(
          await errnoOf(t, { defaultAction: "SCMP_ACT_ALLOW", syscalls }, [nr.personality, query]),
          128 + 31,
        );
      },
    ),
  ),
  row("MUST", "seccomp-trap", "SCMP_ACT_TRAP sends SIGSYS", async (t) => {
    const syscalls: Rule[] = [{ names: ["personality"], action: "SCMP_ACT_TRAP" }];
    // As process 1 of its PID namespace the program is spared signals it does not handle,
    // but not one that the kernel forces on it.
    assert.equal(
      await errnoOf(t, { defaultAction: "SCMP_ACT_ALLOW", syscalls }, [nr.personality, query]),
      128 + 31,
    );
  }),
  row("MUST", "seccomp-trace", "SCMP_ACT_TRACE without a tracer gives ENOSYS", async (t) => {
    const syscalls: Rule[] = [{ names: ["personality"], action: "SCMP_ACT_TRACE", errnoRet: 5 }];
    assert.equal(
      await errnoOf(t, { defaultAction: "SCMP_ACT_ALLOW", syscalls }, [nr.personality, query]),
      38,
    );
  }),
  row("MUST", "seccomp-log", "SCMP_ACT_LOG lets the call pass", async (t) => {
    const syscalls: Rule[] = [{ names: ["lseek"], action: "SCMP_ACT_LOG" }];
    assert.equal(
      await errnoOf(t, { defaultAction: "SCMP_ACT_ALLOW", syscalls }, [nr.lseek, 999, 0]),
      9,
    );
  }),
  row("MUST", "seccomp-action-unknown", "an action that does not exist is refused", async (t) => {
    await t.refused((config) => {
      Object.assign(config.linux, { seccomp: { defaultAction: "SCMP_ACT_NOTHING" } });
    });
  }),
  row("MUST", "seccomp-op-unknown", "an operator that does not exist is refused", async (t) => {
    await t.refused((config) => {
      const args = [{ index: 0, value: 1, op: "SCMP_CMP_XX" }];
      Object.assign(config.linux, {
        seccomp: {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["kill"], action: "SCMP_ACT_ERRNO", args }],
        },
      });
    });
  }),
  row(
    "MUST",
    "seccomp-arch-unknown",
    "an architecture that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux, {
          seccomp: { ...denies({ names: ["kill"] }), architectures: ["SCMP_ARCH_PDP11"] },
        });
      });
    },
  ),
  row(
    "MUST",
    "seccomp-errno-on-allow",
    "an errnoRet for an action that takes none is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", defaultErrnoRet: 3 };
      });
    },
  ),
  row("MUST", "seccomp-names-empty", "a rule without names is refused", async (t) => {
    await t.refused((config) => {
      config.linux.seccomp = denies({ names: [] });
    });
  }),
  ...comparisons.map(comparisonRow),
  row("MUST", "seccomp-args-all", "all argument comparisons of a rule must hold", async (t) => {
    const seccomp = denies({
      names: ["lseek"],
      args: [
        { index: 1, value: 5, op: "SCMP_CMP_EQ" },
        { index: 2, value: 1, op: "SCMP_CMP_EQ" },
      ],
    });
    assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 5, 1]), filtered);
    assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 5, 0]), 9);
    assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 6, 1]), 9);
  }),
  row(
    "MUST",
    "seccomp-args-any-rule",
    "of several rules for one call each can match",
    async (t) => {
      const rule = (value: number) =>
        denies({ names: ["lseek"], args: [{ index: 1, value, op: "SCMP_CMP_EQ" }] }).syscalls ?? [];
      const seccomp = { ...denies({ names: ["personality"] }), syscalls: [...rule(5), ...rule(6)] };
      assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 5]), filtered);
      assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 6]), filtered);
      assert.equal(await errnoOf(t, seccomp, [nr.lseek, 999, 7]), 9);
    },
  ),
  row(
    "MUST",
    "seccomp-foreign-arch",
    "calls of an architecture that is not listed do not slip past the filter",
    async (t) => {
      const { status } = await outcomeOf(
        t,
        denies({ names: ["personality"] }),
        [nr.i386Personality, query],
        "i386",
      );
      assert.notEqual(status, 0);
    },
  ),
  row(
    "MUST",
    "seccomp-sub-arch",
    "rules hold for a listed sub-architecture with its own numbers",
    async (t) => {
      const seccomp: Seccomp = {
        ...denies({ names: ["personality"] }),
        architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
      };
      assert.equal(await errnoOf(t, seccomp, [nr.i386Personality, query], "i386"), filtered);
      assert.equal(await errnoOf(t, seccomp, [37, 0, 0], "i386"), 0); // kill(0, 0)
      assert.equal(await errnoOf(t, seccomp, [nr.personality, query]), filtered);
    },
  ),
  row("MUST", "seccomp-x32", "x32's numbers do not slip past the filter", async (t) => {
    const x32 = 0x4000_0000 + nr.personality;
    const { status } = await outcomeOf(t, denies({ names: ["personality"] }), [x32, query]);
    assert.notEqual(status, 0);
  }),
  row(
    "MUST",
    "seccomp-without-new-privs",
    "the filter is loaded also when noNewPrivileges is off",
    async (t) => {
      writeFileSync(`${t.rootfs}/call`, callProgram("x86-64"), { mode: 0o755 });
      const { status } = await t.run("", (config) => {
        delete config.process.noNewPrivileges;
        config.process.args = ["/call", String(nr.personality), String(query)];
        config.process.user = { uid: 1000, gid: 1000 };
        config.linux.seccomp = denies({ names: ["personality"] });
      });
      assert.equal(status, filtered);
    },
  ),
  ...(
    [
      "SECCOMP_FILTER_FLAG_TSYNC",
      "SECCOMP_FILTER_FLAG_LOG",
      "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    ] as const
  ).map((flag) =>
    row(
      "MUST",
      `seccomp-flag-${flag.slice(20).toLowerCase().replace("_", "-")}`,
      `the flag ${flag} is accepted and the filter works`,
      async (t) => {
        const seccomp: Seccomp = { ...denies({ names: ["personality"] }), flags: [flag] };
        assert.equal(await errnoOf(t, seccomp, [nr.personality, query]), filtered);
      },
    ),
  ),
  row("MUST", "seccomp-flag-unknown", "a flag that does not exist is refused", async (t) => {
    await t.refused((config) => {
      Object.assign(config.linux, {
        seccomp: { ...denies({ names: ["personality"] }), flags: ["SECCOMP_FILTER_FLAG_X"] },
      });
    });
  }),
  row("MUST", "seccomp-exec", "the filter holds for exec as well", async (t) => {
    writeFileSync(`${t.rootfs}/call`, callProgram("x86-64"), { mode: 0o755 });
    const container = await t.started("sleep 100", (config) => {
      config.linux.seccomp = denies({ names: ["personality"] });
    });
    const { status } = await container.tryExec(["/call", String(nr.personality), String(query)]);
    assert.equal(status, filtered);
  }),

  notify(
    "MUST",
    "seccomp-notify",
    "the notify descriptor goes to listenerPath with the container process state",
    async (t) => {
      const listener = listen(t.path("agent"));
      t.onClose(() => listener.close());
      const container = t.container();
      t.config.process.args = ["/bin/sleep", "100"];
      t.config.linux.seccomp = {
        defaultAction: "SCMP_ACT_ALLOW",
        listenerPath: t.path("agent"),
        listenerMetadata: "opaque text",
        syscalls: [{ names: ["personality"], action: "SCMP_ACT_NOTIFY" }],
      };
      t.writeConfig();
      const created = container.create();
      let message: Awaited<ReturnType<typeof listener.receive>> | undefined;
      const received = listener.receive().then((value) => {
        message = value;
      });
      await Promise.race([received, created]);
      const outcome = await created;
      assert.equal(outcome.status, 0, outcome.stderr);
      if (message === undefined) await t.ok(["start", container.id]); // sent at the latest by start
      await until("the state arrives", () => message !== undefined);
      if (message === undefined) throw new CannotCheck("unreachable");
      const state = JSON.parse(message.text);
      assert.equal(message.fds.length, 1, "expected one descriptor");
      message.close();
      assert.deepEqual(state.fds, ["seccompFd"]);
      assert.equal(state.metadata, "opaque text");
      assert.equal(state.pid, container.pid);
      assert.equal(state.state.id, container.id);
      assert.ok(state.ociVersion);
    },
  ),
  notify(
    "MUST",
    "seccomp-notify-no-listener",
    "SCMP_ACT_NOTIFY without anybody listening is refused",
    async (t) => {
      await t.refused((config) => {
        config.linux.seccomp = {
          defaultAction: "SCMP_ACT_ALLOW",
          listenerPath: t.path("nobody"),
          syscalls: [{ names: ["personality"], action: "SCMP_ACT_NOTIFY" }],
        };
      });
    },
  ),
  notify(
    "MUST",
    "seccomp-notify-unused",
    "listenerPath is ignored when nothing notifies",
    async (t) => {
      await t.probe("true", (config) => {
        config.linux.seccomp = {
          ...denies({ names: ["personality"] }),
          listenerPath: t.path("nobody"),
        };
      });
    },
  ),
];

/** Everything that a runtime's last steps may need. */
const allButTarget = Object.keys(syscallsX86_64).filter((name) => name !== "personality");
