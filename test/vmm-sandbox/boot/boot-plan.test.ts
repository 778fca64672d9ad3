import assert from "node:assert/strict";
import {
  BootError,
  KernelImageError,
  parseKernelImage,
  planBoot,
  writeBoot,
} from "../../../vmm-sandbox/boot/index.ts";
import { BOOT, GuestMemory, HOLE_START } from "../../../vmm-sandbox/machine/index.ts";
import { makeBzImage, makeVmlinux } from "./images.ts";

const MiB = 2 ** 20;

describe("planBoot()", () => {
  const base = { commandLine: "console=hvc0", memorySizeBytes: 64 * MiB };

  it("enters a bzImage in long mode at load address + 0x200, with zero page and page tables", () => {
    const initrd = new Uint8Array(5000).fill(7);
    const plan = planBoot({ ...base, kernel: makeBzImage(), initrd });
    assert.equal(plan.protocol, "linux64");
    assert.equal(plan.registers.general.rip, 0x100_0200n);
    assert.equal(plan.registers.general.rsi, BigInt(BOOT.zeroPage));
    assert.equal(plan.registers.system.efer, 0x500n);
    assert.equal(plan.registers.system.cs?.l, 1);
    const memory = GuestMemory.over(new ArrayBuffer(64 * MiB), 64 * MiB);
    writeBoot(memory, plan);
    const zeroPage = memory.window(BOOT.zeroPage, 4096);
    const view = new DataView(zeroPage.buffer, zeroPage.byteOffset, 4096);
    assert.equal(view.getUint32(0x202, true), 0x5372_6448);
    assert.equal(view.getUint8(0x210), 0xff);
    const initrdAddress = view.getUint32(0x218, true);
    assert.equal(initrdAddress % 4096, 0);
    assert.ok(initrdAddress + 5000 <= 64 * MiB);
    assert.deepEqual(memory.copyOut(initrdAddress, 5000), initrd);
    assert.equal(view.getUint32(0x21c, true), 5000);
    assert.equal(
      Buffer.from(memory.copyOut(view.getUint32(0x228, true), 13)).toString(),
      "console=hvc0\0",
    );
    assert.equal(view.getUint8(0x1e8), 3);
    // The page tables map a virtual address to itself: walk them for 5 MiB + 0x123.
    const entry = (table: number, index: number) => memory.readU64(table + index * 8);
    const pdpt = Number(entry(Number(plan.registers.system.cr3), 0) & ~0xfffn);
    const directory = Number(entry(pdpt, 0) & ~0xfffn);
    assert.equal(entry(directory, 2), 0x40_0083n);
  });

  it("enters a vmlinux through its PVH note, in protected mode, with start info", () => {
    const kernel = makeVmlinux({
      pvhEntry: 0x100_0040,
      segments: [
        { address: 0x100_0000, bytes: new Uint8Array(0x100).fill(0x90), sizeBytes: 0x3000 },
      ],
    });
    const plan = planBoot({ ...base, kernel, initrd: new Uint8Array(10) });
    assert.equal(plan.protocol, "pvh");
    assert.equal(plan.registers.general.rip, 0x100_0040n);
    assert.equal(plan.registers.general.rbx, BigInt(BOOT.startInfo));
    assert.equal(plan.registers.system.cr0, 0x11n);
    const memory = GuestMemory.over(new ArrayBuffer(64 * MiB).slice(0), 64 * MiB);
    memory.fill(0x100_0100, 0x100, 0xee);
    writeBoot(memory, plan);
    assert.equal(memory.readU32(BOOT.startInfo), 0x336e_c578);
    assert.equal(memory.readU32(BOOT.startInfo + 12), 1);
    assert.equal(memory.readU64(BOOT.startInfo + 16), BigInt(BOOT.moduleList));
    assert.equal(memory.readU64(BOOT.moduleList + 8), 10n);
    assert.equal(memory.readU32(BOOT.startInfo + 48), 3);
    assert.equal(memory.readU8(0x100_0100), 0, "bss is zeroed");
  });

  it("enters a vmlinux without PVH note at its ELF entry by the 64-bit protocol", () => {
    const plan = planBoot({ ...base, kernel: makeVmlinux({ entry: 0x100_0010 }) });
    assert.equal(plan.protocol, "linux64");
    assert.equal(plan.registers.general.rip, 0x100_0010n);
  });

  it("reports memory above the hole as a region of its own", () => {
    const plan = planBoot({
      ...base,
      kernel: makeBzImage(),
      memorySizeBytes: HOLE_START + 512 * MiB,
    });
    assert.deepEqual(plan.memoryMap.at(-1), {
      address: 2 ** 32,
      sizeBytes: 512 * MiB,
      type: "ram",
    });
  });

  it("refuses too little memory and says how much is needed", () => {
    assert.throws(
      () => planBoot({ ...base, kernel: makeBzImage(), memorySizeBytes: 16 * MiB }),
      (error: unknown) =>
        error instanceof BootError &&
        /at least 26 MiB/.test(error.message) &&
        /128m/.test(error.hint ?? ""),
    );
  });

  it("refuses an initrd that leaves no room", () => {
    assert.throws(
      () => planBoot({ ...base, kernel: makeBzImage(), initrd: new Uint8Array(50 * MiB) }),
      BootError,
    );
  });

  it("refuses a command line that is too long, or that is not ASCII", () => {
    assert.throws(
      () => planBoot({ ...base, kernel: makeBzImage(), commandLine: "x".repeat(2048) }),
      /2048 characters: expected 2047/,
    );
    assert.throws(
      () => planBoot({ ...base, kernel: makeBzImage(), commandLine: "a\nb" }),
      /printable ASCII/,
    );
  });
});

describe("parseKernelImage()", () => {
  const gzip = new Uint8Array(1024);
  gzip.set([0x1f, 0x8b]);
  const arm = new Uint8Array(1024);
  new DataView(arm.buffer).setUint32(0x38, 0x644d_5241, true);
  const bad: readonly (readonly [why: string, file: Uint8Array, message: RegExp])[] = [
    ["an empty file", new Uint8Array(0), /only 0 bytes/],
    [
      "text",
      new TextEncoder().encode("#!/bin/sh\n".repeat(100)),
      /nothing in it looks like a kernel/,
    ],
    ["a gzip file", gzip, /compressed with gzip/],
    ["an arm64 kernel", arm, /arm64/],
    ["an ELF file for another machine", makeVmlinux({ machine: 183 }), /machine 183/],
    ["an ELF file with nothing to load", makeVmlinux({ segments: [] }), /without anything to load/],
    [
      "an ELF file that loads below 1 MiB",
      makeVmlinux({ segments: [{ address: 0x1000, bytes: new Uint8Array(16) }] }),
      /between 1 MiB and 1 GiB/,
    ],
    [
      "an ELF file whose entry is nowhere",
      makeVmlinux({ entry: 0x40_0000 }),
      /in none of its segments/,
    ],
    [
      "an old boot protocol",
      makeBzImage((view) => view.setUint16(0x206, 0x0208, true)),
      /protocol 2\.8/,
    ],
    ["a 32-bit bzImage", makeBzImage((view) => view.setUint16(0x236, 0, true)), /no 64-bit entry/],
    ["a bzImage cut off", makeBzImage().subarray(0, 0x2000), /cut off/],
    [
      "a bzImage to be loaded at 0",
      makeBzImage((view) => view.setBigUint64(0x258, 0n, true)),
      /loaded at 0x0/,
    ],
    ["a vmlinux cut off", makeVmlinux().subarray(0, 0x400), /cut off/],
  ];
  for (const [why, file, message] of bad) {
    it(`refuses ${why}`, () => {
      assert.throws(
        () => parseKernelImage(file),
        (error: unknown) => error instanceof KernelImageError && message.test(error.message),
      );
    });
  }

  it("survives corrupted files: an error of its own or a plan inside memory (fuzz)", function () {
    this.timeout(60_000);
    const seed = Number(process.env["FUZZ_SEED"] ?? 1);
    const random = xorshift(seed);
    const originals = [makeBzImage(), makeVmlinux({ pvhEntry: 0x100_0040 }), makeVmlinux()];
    for (let turn = 0; turn < Number(process.env["FUZZ_TURNS"] ?? 3000); turn++) {
      const original = originals[random(originals.length)] ?? new Uint8Array();
      const file = original.slice(0, random(4) === 0 ? random(original.length) : original.length);
      for (let i = random(8); i > 0; i--)
        file[random(Math.min(file.length, 0x300))] =
          [0, 1, 0x7f, 0xff, random(256)][random(5)] ?? 0;
      try {
        const plan = planBoot({ kernel: file, commandLine: "", memorySizeBytes: 1024 * MiB });
        for (const { address, sizeBytes } of plan.writes)
          assert.ok(address >= 0 && address + sizeBytes <= 1024 * MiB);
      } catch (error) {
        assert.ok(
          error instanceof KernelImageError || error instanceof BootError,
          `seed ${seed} turn ${turn}: ${error}`,
        );
      }
    }
  });
});

function xorshift(seed: number): (limit: number) => number {
  let state = seed | 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % Math.max(1, limit);
  };
}
