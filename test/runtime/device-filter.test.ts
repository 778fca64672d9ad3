import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { makeDevice, S_IFCHR, spawnProgram } from "../../linux/index.ts";
import type { DeviceRule } from "../../oci/index.ts";
import {
  attachDeviceFilter,
  compileDevicePolicy,
  devicePolicy,
} from "../../runtime/cgroups/device-filter.ts";
import { deviceRules } from "../../runtime/cgroups/resources.ts";
import { waitForChild } from "../../runtime/wait.ts";

/** An interpreter of the few eBPF instructions that the compiler emits. */
function decide(code: Uint8Array, type: number, access: number, major: number, minor: number) {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const registers = new Array<number>(11).fill(0);
  const context = [(access << 16) | type, major, minor];
  for (let at = 0; ; at += 1) {
    const opcode = view.getUint8(at * 8);
    const [dst, src] = [view.getUint8(at * 8 + 1) & 15, view.getUint8(at * 8 + 1) >> 4];
    const [off, imm] = [view.getInt16(at * 8 + 2, true), view.getInt32(at * 8 + 4, true)];
    const [a = 0, b = 0] = [registers[dst], registers[src]];
    if (opcode === 0x95) return registers[0];
    if (opcode === 0x61) registers[dst] = context[off / 4] ?? 0;
    else if (opcode === 0xbc) registers[dst] = b;
    else if (opcode === 0x54) registers[dst] = a & imm;
    else if (opcode === 0x74) registers[dst] = a >>> imm;
    else if (opcode === 0xb7) registers[dst] = imm;
    else if (opcode === 0x56) at += a === imm ? 0 : off;
    else if (opcode === 0x16) at += a === imm ? off : 0;
    else if (opcode === 0x5e) at += a === b ? 0 : off;
    else assert.fail(`unknown instruction 0x${opcode.toString(16)}`);
  }
}

const [block, character] = [1, 2];
const [mknod, read, write] = [1, 2, 4];
const denyAll: DeviceRule = { allow: false, access: "rwm" };

describe("device rules on cgroup v2", () => {
  for (const [why, rules, question, allowed] of [
    ["nothing is allowed at first", [], [character, read, 1, 3], 0],
    ["all is allowed when a rule says so", [{ allow: true }], [block, write, 8, 0], 1],
    [
      "a later denial takes back a part",
      [
        denyAll,
        { allow: true, type: "c", major: 1, minor: 3 },
        { allow: false, type: "c", major: 1, minor: 3, access: "w" },
      ],
      [character, write, 1, 3],
      0,
    ],
    [
      "what is left stays allowed",
      [
        denyAll,
        { allow: true, type: "c", major: 1, minor: 3 },
        { allow: false, type: "c", major: 1, minor: 3, access: "w" },
      ],
      [character, read, 1, 3],
      1,
    ],
    [
      "all of the access must be allowed",
      [denyAll, { allow: true, type: "c", major: 1, minor: 3, access: "r" }],
      [character, read | write, 1, 3],
      0,
    ],
    [
      "types are told apart",
      [denyAll, { allow: true, type: "c", major: 8, minor: 0 }],
      [block, read, 8, 0],
      0,
    ],
    [
      "-1 is any number",
      [denyAll, { allow: true, type: "c", major: 136, minor: -1, access: "rw" }],
      [character, read | write, 136, 77],
      1,
    ],
    [
      "any denied access refuses",
      [{ allow: true }, { allow: false, type: "b", access: "w" }],
      [block, read | write, 8, 0],
      0,
    ],
    [
      "others are not concerned",
      [{ allow: true }, { allow: false, type: "b", access: "w" }],
      [block, read, 8, 0],
      1,
    ],
    ["making nodes is always allowed", deviceRules([denyAll]), [block, mknod, 8, 0], 1],
  ] as const)
    it(why, () => {
      const code = compileDevicePolicy(devicePolicy(rules as readonly DeviceRule[]));
      const [type, access, major, minor] = question;
      assert.equal(decide(code, type, access, major, minor), allowed);
    });

  it("are enforced by the kernel", function () {
    const parent = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].find((path) =>
      existsSync(`${path}/cgroup.procs`),
    );
    if (parent === undefined || process.geteuid?.() !== 0) {
      console.log("      skipped: needs root and a cgroup2 mount");
      this.skip();
    }
    const directory = `${parent}/mw-test-devices-${process.pid}`;
    mkdirSync(directory);
    try {
      attachDeviceFilter(directory, deviceRules([denyAll]));
      // /dev/null is among the defaults; a node of the same numbers as /dev/mem is not.
      const node = `/tmp/mw-test-node-${process.pid}`;
      const { pid, pidfd } = spawnProgram({
        rows: [
          { call: "openat", args: [-100, `${directory}/cgroup.procs`, 1], as: "procs" },
          { call: "write", args: [{ result: "procs" }, "0", 1] },
          { call: "openat", args: [-100, "/dev/null", 2] },
          { call: "mknodat", args: [-100, node, S_IFCHR | 0o600, makeDevice(1, 1)] },
          { call: "openat", args: [-100, node, 0], ignore: ["EPERM", "ENXIO"], as: "opened" },
          { call: "unlink", args: [node] },
          { compute: [0, "-", { result: "opened" }], as: "errno" },
          { end: { result: "errno" } },
        ],
      });
      pidfd.close();
      assert.deepEqual(waitForChild(pid), { code: 1 }, "EPERM");
    } finally {
      assert.deepEqual(
        readdirSync(directory).filter((name) => name.startsWith("mw-")),
        [],
      );
      rmdirSync(directory);
    }
  });
});
