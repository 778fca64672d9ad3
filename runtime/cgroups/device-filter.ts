/**
 * Device rules on cgroup v2, which has no devices controller: an eBPF program of type
 * CGROUP_DEVICE decides. Without it a container that may make device nodes could open the host's
 * disks. Sources: linux/bpf.h (struct bpf_cgroup_dev_ctx), BPF instruction set (RFC 9669);
 * admin-guide/cgroup-v1/devices.rst for what the rules mean.
 */
import {
  type Argument,
  AT_FDCWD,
  addressOf,
  BPF_CGROUP_DEVICE,
  BPF_F_ALLOW_MULTI,
  BPF_PROG_ATTACH,
  BPF_PROG_LOAD,
  BPF_PROG_TYPE_CGROUP_DEVICE,
  call,
  encodeUtf8,
  Fd,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  type Row,
  syscall,
} from "../../linux/index.ts";
import type { DeviceRule } from "../../oci/index.ts";

/** What differs from the default, as the devices controller of v1 keeps it. */
interface Exception {
  readonly type: "b" | "c" | undefined;
  readonly major: number | undefined;
  readonly minor: number | undefined;
  access: number;
}

export interface DevicePolicy {
  readonly defaultAllow: boolean;
  readonly exceptions: readonly Readonly<Exception>[];
}

// biome-ignore format: table
const accessBits: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const everyAccess = 7;
const typeNumbers = { b: 1, c: 2 } as const;

/** Applies the rules in order, from "nothing is allowed". */
export function devicePolicy(rules: readonly DeviceRule[]): DevicePolicy {
  let defaultAllow = false;
  let exceptions: Exception[] = [];
  for (const { allow, type = "a", major, minor, access = "rwm" } of rules) {
    if (type === "a") {
      defaultAllow = allow;
      exceptions = [];
      continue;
    }
    const bits = [...access].reduce((all, letter) => all | (accessBits[letter] ?? 0), 0);
    const key = { type, major: specific(major), minor: specific(minor) };
    const known = exceptions.find(
      (one) => one.type === type && one.major === key.major && one.minor === key.minor,
    );
    if (allow === defaultAllow) {
      if (known !== undefined) known.access &= ~bits;
    } else if (known === undefined) exceptions.push({ ...key, access: bits });
    else known.access |= bits;
  }
  return { defaultAllow, exceptions: exceptions.filter(({ access }) => access !== 0) };
}

function specific(number: number | undefined): number | undefined {
  return number === undefined || number < 0 ? undefined : number;
}

/** struct bpf_insn: u8 opcode, u4 destination, u4 source, i16 offset, i32 immediate. */
interface Instruction {
  readonly code: number;
  readonly dst: number;
  readonly src?: number;
  readonly off?: number;
  readonly imm?: number;
}

// biome-ignore format: table
const op = {
  LDX_W: 0x61, MOV32_X: 0xbc, AND32_K: 0x54, RSH32_K: 0x74, MOV64_K: 0xb7, EXIT: 0x95,
  JNE32_K: 0x56, JEQ32_K: 0x16, JNE32_X: 0x5e,
} as const;
/** Registers: what is asked for, in parts; r1 is free once they are loaded. */
const r = { result: 0, context: 1, scratch: 1, type: 2, access: 3, major: 4, minor: 5 } as const;
const instructionBytes = 8;

export function compileDevicePolicy({ defaultAllow, exceptions }: DevicePolicy): Uint8Array {
  const program: Instruction[] = [
    { code: op.LDX_W, dst: r.type, src: r.context, off: 0 },
    { code: op.LDX_W, dst: r.major, src: r.context, off: 4 },
    { code: op.LDX_W, dst: r.minor, src: r.context, off: 8 },
    { code: op.MOV32_X, dst: r.access, src: r.type },
    { code: op.RSH32_K, dst: r.access, imm: 16 },
    { code: op.AND32_K, dst: r.type, imm: 0xffff },
  ];
  for (const exception of exceptions) program.push(...compileException(exception, defaultAllow));
  program.push(...answer(defaultAllow));
  return encode(program);
}

function answer(allow: boolean): readonly Instruction[] {
  return [
    { code: op.MOV64_K, dst: r.result, imm: allow ? 1 : 0 },
    { code: op.EXIT, dst: 0 },
  ];
}

/** Tests that each skip to the next exception; then the answer that is not the default. */
function compileException(exception: Exception, defaultAllow: boolean): readonly Instruction[] {
  const { type, major, minor, access } = exception;
  const tests: Instruction[] = [];
  if (type !== undefined) tests.push({ code: op.JNE32_K, dst: r.type, imm: typeNumbers[type] });
  if (major !== undefined) tests.push({ code: op.JNE32_K, dst: r.major, imm: major });
  if (minor !== undefined) tests.push({ code: op.JNE32_K, dst: r.minor, imm: minor });
  if (access !== everyAccess || defaultAllow) {
    tests.push({ code: op.MOV32_X, dst: r.scratch, src: r.access });
    tests.push({ code: op.AND32_K, dst: r.scratch, imm: access });
    // Allowed: all that is asked for. Denied: any of it.
    tests.push(
      defaultAllow
        ? { code: op.JEQ32_K, dst: r.scratch, imm: 0 }
        : { code: op.JNE32_X, dst: r.scratch, src: r.access },
    );
  }
  const answers = answer(!defaultAllow);
  return [
    ...tests.map((test, index) =>
      isJump(test.code) ? { ...test, off: tests.length - index - 1 + answers.length } : test,
    ),
    ...answers,
  ];
}

function isJump(code: number): boolean {
  return code === op.JNE32_K || code === op.JEQ32_K || code === op.JNE32_X;
}

function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * instructionBytes);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, dst, src = 0, off = 0, imm = 0 }, index) => {
    const at = index * instructionBytes;
    view.setUint8(at, code);
    view.setUint8(at + 1, dst | (src << 4));
    view.setInt16(at + 2, off, true);
    view.setInt32(at + 4, imm, true);
  });
  return bytes;
}

const attributeSize = 48;
/** union bpf_attr for BPF_PROG_LOAD: where the pointers to instructions and license lie. */
const [codeOffset, licenseOffset] = [8, 16];
const attachSize = 16;
const logSize = 4096;
const license = "Apache-2.0";

/** Buffer that the rows of planDeviceFilter want, in bytes. */
export const deviceFilterBuffers = { "device-filter": attachSize } as const;

/** The same for a cgroup of another kernel, as rows. Empty where the rules forbid nothing. */
export function planDeviceFilter(directory: string, rules: readonly DeviceRule[]): readonly Row[] {
  const policy = devicePolicy(rules);
  if (policy.defaultAllow && policy.exceptions.length === 0) return [];
  const code = compileDevicePolicy(policy);
  const attributes = {
    struct: loadAttributes(code),
    pointers: { [codeOffset]: code, [licenseOffset]: license },
  };
  const field = "linux.resources.devices";
  const buffer = "device-filter";
  const put = (offset: number, value: Argument): Row => ({
    store: { buffer, offset },
    value,
    width: 4,
  });
  return [
    {
      call: "openat",
      args: [AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0],
      as: "filtered",
      note: field,
    },
    { call: "bpf", args: [BPF_PROG_LOAD, attributes, attributeSize], as: "filter", note: field },
    put(0, { result: "filtered" }),
    put(4, { result: "filter" }),
    put(8, BPF_CGROUP_DEVICE),
    put(12, BPF_F_ALLOW_MULTI),
    { call: "bpf", args: [BPF_PROG_ATTACH, { buffer }, attachSize], note: field },
    { call: "close", args: [{ result: "filter" }] },
    { call: "close", args: [{ result: "filtered" }] },
  ];
}

/** Without its pointers. */
function loadAttributes(code: Uint8Array): Uint8Array {
  const attributes = new Uint8Array(attributeSize);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, BPF_PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, code.length / instructionBytes, true);
  return attributes;
}

/** Puts the filter into force for the cgroup and all below it. */
export function attachDeviceFilter(directory: string, rules: readonly DeviceRule[]): void {
  using program = load(compileDevicePolicy(devicePolicy(rules)));
  using cgroup = Fd.from("openat", AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const attach = new Uint32Array([
    cgroup.number,
    program.number,
    BPF_CGROUP_DEVICE,
    BPF_F_ALLOW_MULTI,
  ]);
  call("bpf", BPF_PROG_ATTACH, new Uint8Array(attach.buffer), attach.byteLength);
}

function load(code: Uint8Array): Fd {
  const attributes = loadAttributes(code);
  const licenseBytes = encodeUtf8(`${license}\0`);
  const view = new DataView(attributes.buffer);
  view.setBigUint64(codeOffset, BigInt(addressOf(code)), true);
  view.setBigUint64(licenseOffset, BigInt(addressOf(licenseBytes)), true);
  const loaded = syscall("bpf", BPF_PROG_LOAD, attributes, attributes.length);
  if (loaded >= 0) return Fd.take(loaded);
  // Once more, to learn what the verifier has against it.
  const log = new Uint8Array(logSize);
  view.setUint32(24, 1, true);
  view.setUint32(28, log.length, true);
  view.setBigUint64(32, BigInt(addressOf(log)), true);
  try {
    return Fd.from("bpf", BPF_PROG_LOAD, attributes, attributes.length);
  } catch (cause) {
    const said = Buffer.from(log).toString("utf8").replaceAll("\0", "").trim();
    throw new Error(`Cannot load the device filter: the kernel says "${said}"`, { cause });
  }
}
