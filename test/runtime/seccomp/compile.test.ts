import assert from "node:assert/strict";
import { encodeSeccompData, runFilter, type SeccompData } from "../../../linux/bpf-machine.ts";
import type { BpfInstruction } from "../../../linux/index.ts";
import { AUDIT_ARCH_I386, AUDIT_ARCH_X86_64 } from "../../../linux/index.ts";
import type {
  Seccomp,
  SeccompAction,
  SeccompArgument,
  SeccompSyscall,
} from "../../../oci/index.ts";
import { architecturesOf } from "../../../runtime/seccomp/architectures.ts";
import { compileSeccomp, seccompOperators } from "../../../runtime/seccomp/compile.ts";
import { dockerSeccompProfile } from "../../../runtime/seccomp/default-profile.ts";
import { libseccompFilter } from "./libseccomp.ts";

const x32Bit = 0x4000_0000;
const ENOSYS = 0x50000 | 38;
/** process_mrelease: libseccomp 2.5.4 knows no newer call. */
const newestOfOracle = 448;

function ask(filter: readonly BpfInstruction[], nr: number, ...args: (number | bigint)[]): number {
  const padded = Array.from({ length: 6 }, (_, index) => BigInt(args[index] ?? 0));
  return runFilter(filter, encodeSeccompData({ nr, arch: AUDIT_ARCH_X86_64, args: padded }));
}

/** Small deterministic generator (xorshift32), so that failures repeat. */
function randomSource(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const interesting = [
  0n,
  1n,
  2n,
  3n,
  8n,
  37n,
  38n,
  39n,
  40n,
  41n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x100000001n,
  0x7e020000n,
  0x8000000000000000n,
  0xfffffffffffffffen,
  0xffffffffffffffffn,
];

/** Values that JSON carries exactly. */
const exactValues = interesting.filter((value) => value < 2n ** 53n).map(Number);

function randomVector(random: (below: number) => number): SeccompData {
  const kind = random(8);
  const arch = kind === 0 ? AUDIT_ARCH_I386 : kind === 1 ? 0x1234 : AUDIT_ARCH_X86_64;
  const nr = (kind === 2 ? x32Bit : 0) + random(newestOfOracle + 1);
  const narrow = arch === AUDIT_ARCH_I386 || kind === 2;
  const args = Array.from({ length: 6 }, () => {
    const value = interesting[random(interesting.length)] ?? 0n;
    return narrow ? value & 0xffffffffn : value;
  });
  return { nr, arch, args };
}

/** Numbers above the newest that the profile names: answered ENOSYS by us, as by runc. */
function isBeyondProfile(profile: Seccomp, { nr, arch }: SeccompData): boolean {
  const wanted =
    arch === AUDIT_ARCH_I386
      ? "SCMP_ARCH_X86"
      : nr >= x32Bit
        ? "SCMP_ARCH_X32"
        : "SCMP_ARCH_X86_64";
  const table = architecturesOf(profile.architectures).find(({ name }) => name === wanted);
  if (table === undefined) return false;
  const numbers = (profile.syscalls ?? [])
    .filter(({ action, errnoRet }) => action !== profile.defaultAction || errnoRet !== undefined)
    .flatMap(({ names }) => names)
    .flatMap((name) => [table.number(name), table.multiplexed?.(name)?.number])
    .filter((number) => number !== undefined);
  return (nr & ~x32Bit) > Math.max(-1, ...numbers);
}

function compareWithLibseccomp(profile: Seccomp, seed: number, vectors: number): void {
  const oracle = libseccompFilter(profile);
  assert.ok(oracle !== undefined);
  const { instructions } = compileSeccomp(profile);
  const random = randomSource(seed);
  for (let count = 0; count < vectors; count += 1) {
    const vector = randomVector(random);
    const ours = runFilter(instructions, encodeSeccompData(vector));
    if (ours === ENOSYS && isBeyondProfile(profile, vector)) continue;
    const theirs = runFilter(oracle, encodeSeccompData(vector));
    if (ours !== theirs)
      assert.fail(
        `${JSON.stringify(profile).slice(-1500)}\nnr ${vector.nr} arch ${vector.arch.toString(16)} ` +
          `args ${vector.args.join(" ")}: ours 0x${ours.toString(16)}, theirs 0x${theirs.toString(16)}`,
      );
  }
}

describe("compileSeccomp()", () => {
  it("lets through, refuses with the given errno and kills as the profile says", () => {
    const { instructions } = compileSeccomp({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 13 },
        { names: ["reboot"], action: "SCMP_ACT_KILL_PROCESS" },
        { names: ["uname"], action: "SCMP_ACT_LOG" },
        { names: ["getpid"], action: "SCMP_ACT_TRACE", errnoRet: 7 },
        { names: ["getuid"], action: "SCMP_ACT_TRAP" },
        { names: ["getgid"], action: "SCMP_ACT_NOTIFY" },
        { names: ["no_such_call", "constructor"], action: "SCMP_ACT_KILL" },
      ],
    });
    assert.equal(ask(instructions, 0), 0x7fff0000);
    assert.equal(ask(instructions, 83), 0x5000d);
    assert.equal(ask(instructions, 169), 0x80000000);
    assert.equal(ask(instructions, 63), 0x7ffc0000);
    assert.equal(ask(instructions, 39), 0x7ff00007);
    assert.equal(ask(instructions, 102), 0x30000);
    assert.equal(ask(instructions, 104), 0x7fc00000);
    assert.equal(ask(instructions, 1000), 0x7fff0000);
  });

  it("answers ENOSYS for calls newer than the profile, so that libc falls back", () => {
    const { instructions } = compileSeccomp({
      defaultAction: "SCMP_ACT_ERRNO",
      syscalls: [{ names: ["read", "clone3"], action: "SCMP_ACT_ALLOW" }],
    });
    assert.equal(ask(instructions, 435), 0x7fff0000);
    assert.equal(ask(instructions, 434), 0x50001);
    assert.equal(ask(instructions, 436), ENOSYS);
  });

  it("compares all 64 bits of an argument", () => {
    const rule = (op: SeccompArgument["op"], value: number): Seccomp => ({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["read"], action: "SCMP_ACT_TRAP", args: [{ index: 2, op, value }] }],
    });
    for (const [op, value, argument, matches] of [
      ["SCMP_CMP_EQ", 0x100000001, 0x100000001n, true],
      ["SCMP_CMP_EQ", 0x100000001, 1n, false],
      ["SCMP_CMP_GT", 5, 0x100000000n, true],
      ["SCMP_CMP_GT", 0x100000000, 0xffffffffn, false],
      ["SCMP_CMP_LE", 0x100000000, 0x100000000n, true],
      ["SCMP_CMP_LT", 0x100000000, 0x100000000n, false],
      ["SCMP_CMP_NE", 18446744073709552000, 0xffffffffffffffffn, false],
    ] as const) {
      const { instructions } = compileSeccomp(rule(op, value));
      const verdict = ask(instructions, 0, 0, 0, argument) === 0x30000;
      assert.equal(verdict, matches, `${argument} ${op} ${value}`);
    }
  });

  it("takes two conditions on one argument as alternatives, as runc does", () => {
    const { instructions } = compileSeccomp({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        {
          names: ["read"],
          action: "SCMP_ACT_TRAP",
          args: [
            { index: 0, op: "SCMP_CMP_EQ", value: 1 },
            { index: 0, op: "SCMP_CMP_EQ", value: 2 },
          ],
        },
      ],
    });
    assert.deepEqual(
      [0, 1, 2, 3].map((fd) => ask(instructions, 0, fd)),
      [0x7fff0000, 0x30000, 0x30000, 0x7fff0000],
    );
  });

  for (const [why, profile, path] of [
    ["an unknown default action", { defaultAction: "SCMP_ACT_NO" }, "defaultAction"],
    ["an unknown flag", { defaultAction: "SCMP_ACT_ALLOW", flags: ["X"] }, "flags"],
    [
      "a rule without names",
      { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: [], action: "SCMP_ACT_KILL" }] },
      "syscalls[0].names",
    ],
    [
      "an argument that does not exist",
      {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [
          {
            names: ["read"],
            action: "SCMP_ACT_KILL",
            args: [{ index: 6, op: "SCMP_CMP_EQ", value: 0 }],
          },
        ],
      },
      "syscalls[0].args",
    ],
  ] as const)
    it(`refuses ${why} by name of the field`, () => {
      // SAFE: a wrong profile on purpose, as JSON.parse could return it.
      assert.throws(() => compileSeccomp(profile as unknown as Seccomp), {
        name: "SpecError",
        message: new RegExp(path.replace(/[[\].]/g, "\\$&")),
      });
    });

  it("stays small: docker's default profile is a tree, not a list", () => {
    const { instructions } = compileSeccomp(dockerSeccompProfile());
    assert.ok(instructions.length < 1000, `${instructions.length} instructions`);
    const steps = (nr: number) => {
      let count = 0;
      const counted = new Proxy(instructions, {
        get: (target, key) => {
          if (typeof key === "string" && /^\d+$/.test(key)) count += 1;
          return Reflect.get(target, key);
        },
      });
      ask(counted, nr);
      return count;
    };
    assert.ok(Math.max(...Array.from({ length: 470 }, (_, nr) => steps(nr))) <= 30);
  });

  it("emits jumps that the kernel accepts, however long the profile", () => {
    const names = Object.keys(
      Object.fromEntries(
        dockerSeccompProfile().syscalls?.[0]?.names.map((name) => [name, 1]) ?? [],
      ),
    );
    const syscalls = names.map(
      (name, index): SeccompSyscall => ({
        names: [name],
        action: "SCMP_ACT_ERRNO",
        errnoRet: index,
        args: [{ index: index % 6, op: "SCMP_CMP_EQ", value: index }],
      }),
    );
    const { instructions } = compileSeccomp({ defaultAction: "SCMP_ACT_ALLOW", syscalls });
    instructions.forEach(({ jt, jf, k, code }, at) => {
      const farthest = code === 0x05 ? k : Math.max(jt, jf);
      assert.ok(
        jt <= 255 && jf <= 255 && (code !== 0x05 || at + 1 + farthest < instructions.length),
      );
    });
  });
});

describe("compileSeccomp() against libseccomp", function () {
  this.timeout(60_000);
  before(function () {
    if (libseccompFilter({ defaultAction: "SCMP_ACT_ALLOW" }) !== undefined) return;
    console.log("      skipped: python3-seccomp is not installed");
    this.skip();
  });

  for (const [name, capabilities] of [
    ["default", []],
    ["with CAP_SYS_ADMIN", ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]],
    ["with CAP_SYS_TIME", ["CAP_SYS_TIME", "CAP_BPF"]],
  ] as const)
    it(`decides as libseccomp for docker's profile (${name})`, () => {
      const profile = dockerSeccompProfile(capabilities);
      const syscalls = (profile.syscalls ?? []).map((rule) => ({
        ...rule,
        names: rule.names.filter((one) => one !== "uretprobe"), // newer than the oracle
      }));
      compareWithLibseccomp({ ...profile, syscalls }, 7, 20_000);
    });

  const actions: readonly SeccompAction[] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
  ];
  const names = ["read", "write", "socket", "clone", "mmap", "semop", "waitid", "ioctl", "statx"];

  it("decides as libseccomp for random profiles", () => {
    const random = randomSource(20260101);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T; // SAFE: below length
    for (let round = 0; round < 60; round += 1) {
      const defaultAction = pick(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL"] as const);
      const syscalls = names
        .filter(() => random(2) === 0)
        .map((name): SeccompSyscall => {
          const indexes = [0, 1, 2, 3, 4, 5].filter(() => random(4) === 0);
          return {
            names: [name],
            action: pick(actions),
            args: indexes.map((index) => ({
              index,
              op: pick(seccompOperators),
              value: pick(exactValues),
              valueTwo: pick(exactValues),
            })),
          };
        });
      const architectures = (
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"] as const
      ).filter(() => random(2) === 0);
      compareWithLibseccomp({ defaultAction, architectures, syscalls }, round + 1, 2_000);
    }
  });
});
