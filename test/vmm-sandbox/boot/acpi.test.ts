import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type AcpiMachine,
  encodeDsdt,
  encodeFadt,
  encodeMadt,
  planAcpi,
} from "../../../vmm-sandbox/boot/acpi.ts";

const machine: AcpiMachine = {
  cpus: 3,
  virtio: Array.from({ length: 12 }, (_, i) => ({
    base: 0xd000_0000 + i * 0x1000,
    sizeBytes: 0x1000,
    gsi: 5 + i,
  })),
  com1: { port: 0x3f8, gsi: 4 },
  generation: { address: 0x9_f000, gsi: 22 },
  ioApic: 0xfec0_0000,
  localApic: 0xfee0_0000,
  powerPort: 0x600,
};

describe("ACPI tables", () => {
  const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

  it("link from the RSDP to every table, each with a checksum of zero", () => {
    const base = 0xe_1000;
    const { rsdp, tables } = planAcpi(machine, base);
    const view = new DataView(tables.buffer);
    assert.equal(sum(rsdp.subarray(0, 20)), 0);
    assert.equal(sum(rsdp), 0);
    const table = (address: number) => {
      const at = address - base;
      const bytes = tables.subarray(at, at + view.getUint32(at + 4, true));
      assert.equal(sum(bytes), 0);
      return { bytes, signature: Buffer.from(bytes.subarray(0, 4)).toString() };
    };
    const xsdt = table(Number(new DataView(rsdp.buffer).getBigUint64(24, true)));
    assert.equal(xsdt.signature, "XSDT");
    const entries = [36, 44].map((at) =>
      Number(new DataView(xsdt.bytes.buffer, xsdt.bytes.byteOffset).getBigUint64(at, true)),
    );
    const [fadt, madt] = entries.map(table);
    assert.equal(fadt?.signature, "FACP");
    assert.equal(fadt?.bytes.length, 276);
    assert.equal(madt?.signature, "APIC");
    const dsdt = Number(
      new DataView(fadt?.bytes.buffer ?? tables.buffer, fadt?.bytes.byteOffset).getBigUint64(
        140,
        true,
      ),
    );
    assert.equal(table(dsdt).signature, "DSDT");
  });
});

describe("ACPI tables, disassembled by iasl", () => {
  let folder = "";

  before(function () {
    if (spawnSync("iasl", ["-v"]).error !== undefined) {
      console.log("    skipped: iasl is missing (Debian's acpica-tools)");
      this.skip();
    }
    folder = mkdtempSync(join(tmpdir(), "acpi-"));
  });
  after(() => {
    if (folder !== "") rmSync(folder, { recursive: true });
  });

  function disassemble(name: string, table: Uint8Array): string {
    writeFileSync(join(folder, `${name}.aml`), table);
    execFileSync("iasl", ["-d", `${name}.aml`], { cwd: folder, stdio: "pipe" });
    return readFileSync(join(folder, `${name}.dsl`), "latin1");
  }

  it("DSDT: every device with its registers and its line, and it compiles again", () => {
    const text = disassemble("dsdt", encodeDsdt(machine));
    assert.equal(text.match(/Name \(_HID, "LNRO0005"\)/g)?.length, 12);
    assert.match(
      text,
      /Device \(V00B\)[\s\S]*?Memory32Fixed \(ReadWrite,\s*0xD000B000,[^\n]*\n\s*0x00001000/,
    );
    assert.match(
      text,
      /Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive[^)]*\)\s*\{\s*0x00000010,\s*\}/,
    );
    assert.match(text, /_HID, EisaId \("PNP0501"\)/);
    assert.match(
      text,
      /Method \(_EVT, 1, Serialized\)[^\n]*\s*\{\s*If \(\(Arg0 == 0x16\)\)\s*\{\s*Notify \(\\_SB\.VGEN, 0x80\)/,
    );
    assert.match(text, /Name \(\\_S5, Package \(0x04\)/);
    // -oa: no shorter names. 6035: iasl wants hex digits in "VMGENCTR"; Linux wants exactly that name.
    const compiled = execFileSync("iasl", ["-vw", "6035", "-oa", "-p", "again", "dsdt.dsl"], {
      cwd: folder,
      encoding: "utf8",
    });
    assert.match(compiled, / 0 Errors/);
    const again = readFileSync(join(folder, "again.aml"));
    assert.deepEqual(again.subarray(36), Buffer.from(encodeDsdt(machine).subarray(36)));
  });

  it("FADT: hardware-reduced, with sleep and reset registers in I/O space", () => {
    const text = disassemble("facp", encodeFadt(machine, 0xe_1000));
    assert.match(text, /Hardware Reduced \(V5\) : 1/);
    assert.match(text, /Reset Register Supported \(V2\) : 1/);
    assert.match(text, /Value to cause reset : 77/);
    assert.match(
      text,
      /Sleep Control Register[\s\S]*?Space ID : 01[\s\S]*?Address : 0000000000000600/,
    );
    assert.match(text, /Sleep Status Register[\s\S]*?Address : 0000000000000601/);
    assert.doesNotMatch(text, /\*\*\*\* (Error|Warning)/i);
  });

  it("MADT: one enabled local APIC per CPU and one IO-APIC", () => {
    const text = disassemble("apic", encodeMadt(machine));
    assert.equal(text.match(/Processor Enabled : 1/g)?.length, 3);
    assert.match(text, /\[I\/O APIC\][\s\S]*?Address : FEC00000[\s\S]*?Interrupt : 00000000/);
  });
});
