/**
 * Runs kvm-unit-tests (https://gitlab.com/kvm-unit-tests/kvm-unit-tests, x86) on the software CPU:
 * multiboot programs that test a processor's system side and say PASS or FAIL on the serial port.
 *
 *   tsx kvm-unit-tests.ts FOLDER_WITH_FLAT_FILES [seconds a test] [name…]
 *
 * The folder is a build made elsewhere. A test ends by writing to port 0xf4.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Serial } from "../../../vmm-sandbox/devices/serial.ts";
import { COM1_GSI, COM1_PORT } from "../../../vmm-sandbox/machine/layout.ts";
import type { Segment } from "../../../vmm-sandbox/machine/vcpu.ts";
import { createSoftwareMachine } from "../../../vmm-sandbox/translator/vcpu.ts";

const [, , folder = "", seconds = "20", ...wanted] = process.argv;
if (folder === "")
  throw new Error("Cannot run kvm-unit-tests: expected the folder of its .flat files");
const ramBytes = 256 << 20;
const infoAt = 0x9000;
const multibootMagic = 0x2bad_b002n;
/** Of fw_cfg: how many CPUs there are, and how much RAM. */
const fwCfg = { ramSize: 3, cpus: 5 } as const;

const flat = {
  base: 0n,
  limit: 0xffff_ffff,
  present: 1,
  dpl: 0,
  s: 1,
  g: 1,
  avl: 0,
  l: 0,
  db: 1,
  unusable: 0,
};
const code: Segment = { ...flat, selector: 8, type: 0xb };
const data: Segment = { ...flat, selector: 16, type: 3 };

function load(file: Uint8Array, copyIn: (at: number, bytes: Uint8Array) => void): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const is64 = view.getUint8(4) === 2;
  const word = (at: number): number =>
    is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true);
  const table = word(is64 ? 32 : 28);
  const size = view.getUint16(is64 ? 54 : 42, true);
  for (let i = 0; i < view.getUint16(is64 ? 56 : 44, true); i++) {
    const at = table + i * size;
    if (view.getUint32(at, true) !== 1) continue;
    const offset = word(at + (is64 ? 8 : 4));
    const address = word(at + (is64 ? 24 : 12));
    copyIn(address, file.subarray(offset, offset + word(at + (is64 ? 32 : 16))));
  }
  return word(24);
}

function run(path: string): { readonly output: string; readonly end: string } {
  const { machine, vcpu } = createSoftwareMachine({ ramBytes });
  let output = "";
  let end = "";
  const finish = (how: string): void => {
    end = how;
    machine.stop({ kind: "power-off" });
  };
  const serial = new Serial(machine.interrupts.line(COM1_GSI), (byte) => {
    output += String.fromCharCode(byte);
  });
  machine.pio.attach({ name: "com1", base: COM1_PORT, sizeBytes: 8, device: serial });
  machine.pio.attach({
    name: "exit",
    base: 0xf4,
    sizeBytes: 4,
    device: { read: () => 0, write: (_offset, _size, value) => finish(`exit ${value}`) },
  });
  // pci-testdev's port, which gives back what was last written.
  let testPort = 0;
  machine.pio.attach({
    name: "test port",
    base: 0xe0,
    sizeBytes: 4,
    device: {
      read: () => testPort,
      write: (_offset, _size, value) => {
        testPort = value;
      },
    },
  });
  // pci-testdev's RAM that is reached as a device is: what their emulator tests access.
  const ioRam = new DataView(new ArrayBuffer(0x1_0000));
  machine.mmio.attach({
    name: "ioram",
    base: 0xff00_0000,
    sizeBytes: 0x1_0000,
    device: {
      read: (offset, size) => {
        const bytes = Array.from({ length: size }, (_, i) => ioRam.getUint8(offset + i));
        return bytes.reduce((sum, byte, i) => sum + byte * 2 ** (8 * i), 0);
      },
      write: (offset, size, value) => {
        for (let i = 0; i < size; i++) ioRam.setUint8(offset + i, Math.floor(value / 2 ** (8 * i)));
      },
    },
  });
  let selected = 0;
  let position = 0;
  machine.pio.attach({
    name: "fw_cfg",
    base: 0x510,
    sizeBytes: 2,
    device: {
      read: () => {
        const value = selected === fwCfg.cpus ? 1 : selected === fwCfg.ramSize ? ramBytes : 0;
        return (value >> (8 * position++)) & 0xff;
      },
      write: (_offset, _size, value) => {
        selected = value;
        position = 0;
      },
    },
  });
  const entry = load(readFileSync(path), (at, bytes) => machine.memory.copyIn(at, bytes));
  const info = new DataView(new ArrayBuffer(64));
  info.setUint32(0, 1 | 4, true); // memory sizes and command line
  info.setUint32(4, 640, true);
  info.setUint32(8, (ramBytes >> 10) - 1024, true);
  info.setUint32(16, infoAt + 64, true);
  machine.memory.copyIn(infoAt, new Uint8Array(info.buffer));
  machine.memory.copyIn(infoAt + 64, new TextEncoder().encode("test\0"));
  vcpu.setRegisters({
    general: { rip: BigInt(entry), rax: multibootMagic, rbx: BigInt(infoAt), rflags: 2n },
    system: {
      cs: code,
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      cr0: 0x11n,
      cr3: 0n,
      cr4: 0n,
      efer: 0n,
    },
  });
  const limit = performance.now() + Number(seconds) * 1000;
  const { apic } = vcpu.cpu;
  const tick = apic.tick.bind(apic);
  apic.tick = (now) => {
    if (performance.now() > limit) finish("out of time");
    tick(now);
  };
  const exit = vcpu.run();
  return { output, end: end || exit.reason };
}

const names = readdirSync(folder)
  .filter((name) => name.endsWith(".flat"))
  .map((name) => name.slice(0, -5))
  .filter((name) => wanted.length === 0 || wanted.includes(name));
for (const name of names) {
  const { output, end } = run(join(folder, `${name}.flat`));
  const count = (word: string): number =>
    output.split("\n").filter((line) => line.startsWith(word)).length;
  console.log(
    `${name.padEnd(20)} ${end.padEnd(12)} pass ${count("PASS")} fail ${count("FAIL")} skip ${count("SKIP")}`,
  );
  if (process.env["VERBOSE"]) console.log(output);
  else
    for (const line of output.split("\n"))
      if (line.startsWith("FAIL")) console.log(`    ${line.trim()}`);
}
