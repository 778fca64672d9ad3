/** Whole machines with vCPU threads, on the host's own /dev/kvm, with guests of a few bytes. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BootError, KernelImageError } from "../../vmm-sandbox/boot/index.ts";
import { mapWholeFile } from "../../vmm-sandbox/host/file-mapping.ts";
import { KvmBackend, openKvm } from "../../vmm-sandbox/kvm/index.ts";
import { Vm, type VmConfig } from "../../vmm-sandbox/vm.ts";
import { makeVmlinux } from "./boot/images.ts";

const MiB = 2 ** 20;

function kernel(hex: string): Uint8Array {
  const code = Uint8Array.from(Buffer.from(hex.replace(/;[^\n]*/g, "").replace(/\s+/g, ""), "hex"));
  return makeVmlinux({ pvhEntry: 0x100_0000, segments: [{ address: 0x100_0000, bytes: code }] });
}

const powerOff = `
  66 ba 00 06   ; mov dx, 0x600
  b0 34         ; mov al, SLP_EN | S5
  ee            ; out dx, al
  eb fe         ; jmp $`;

describe("Vm", () => {
  before(function () {
    try {
      openKvm()[Symbol.dispose]();
    } catch (error) {
      console.log(`    skipped: ${error}`);
      this.skip();
    }
  });

  async function start(
    config: Partial<VmConfig> & Pick<VmConfig, "kernel">,
    cpus = 1,
  ): Promise<Vm> {
    const backend = new KvmBackend({ memorySizeBytes: 64 * MiB, cpus });
    return await Vm.create({ backend, commandLine: "", ...config });
  }

  it("prints on the serial console and powers off through ACPI's port", async () => {
    let output = "";
    await using vm = await start({
      kernel: kernel(`
        66 ba f8 03   ; mov dx, 0x3f8
        b0 4f ee      ; 'O'
        b0 4b ee      ; 'K'
        ${powerOff}`),
      onSerial: (byte) => {
        output += String.fromCharCode(byte);
      },
    });
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    assert.equal(output, "OK");
    assert.equal(vm.consoleTail, "OK");
  });

  it("resets through the i8042 and through ACPI's reset register", async () => {
    for (const code of ["b0 fe e6 64 eb fe", "66 ba 02 06 b0 77 ee eb fe"]) {
      await using vm = await start({ kernel: kernel(code) });
      assert.deepEqual(await vm.run(), { kind: "reset" });
    }
  });

  it("lets a guest probe a device over MMIO: magic, id and configuration", async () => {
    const seen: number[] = [];
    await using vm = await start({
      kernel: kernel(`
        a1 00 00 00 d0        ; mov eax, [0xd0000000]
        66 ba f8 03           ; mov dx, 0x3f8
        ee                    ; out dx, al
        a1 08 00 00 d0        ; mov eax, [0xd0000008]
        ee
        66 a1 00 01 00 d0     ; mov ax, [0xd0000100]   columns
        ee
        ${powerOff}`),
      onSerial: (byte) => seen.push(byte),
    });
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    assert.deepEqual(seen, [0x76, 3, 80]);
  });

  it("answers a device's interrupt status on the vCPU's thread, each cause by itself", async () => {
    const seen: number[] = [];
    const readStatus = "a1 60 10 00 d0 ee"; // mov eax, [0xd0001060]; out dx, al
    const acknowledge = (bits: number) => `c7 05 64 10 00 d0 0${bits} 00 00 00`; // mov [0xd0001064], bits
    await using vm = await start({
      kernel: kernel(`
        66 ba f8 03           ; mov dx, 0x3f8
        ${readStatus} ${acknowledge(1)}
        ${readStatus} ${acknowledge(1)}
        ${readStatus} ${acknowledge(2)}
        ${readStatus}
        a1 60 00 00 d0 ee     ; of the device before it
        ${powerOff}`),
      onSerial: (byte) => seen.push(byte),
    });
    const [before, transport] = vm.transports;
    assert.ok(before !== undefined && transport !== undefined);
    before.restore({ ...before.save(), interruptStatus: 1 });
    transport.restore({ ...transport.save(), interruptStatus: 3 });
    let accesses = 0;
    for (const one of [before, transport]) {
      one.read = () => accesses++;
      one.write = () => void accesses++;
    }
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    assert.deepEqual(seen, [3, 2, 2, 0, 1]);
    assert.equal(accesses, 0, "the device thread was not asked");
    assert.equal(transport.save().interruptStatus, 0);
  });

  it("reports a triple fault as a crash", async () => {
    await using vm = await start({ kernel: kernel("0f 0b") });
    assert.deepEqual(await vm.run(), { kind: "crash", why: "triple fault" });
    const report = await vm.describeCrash();
    assert.match(report, /The guest crashed: triple fault/);
    if (/\bsvm\b/.test(readFileSync("/proc/cpuinfo", "utf8"))) {
      assert.match(report, /AMD processors lose a guest's registers/);
      return;
    }
    assert.match(report, /rip 0000000001000000/);
    assert.match(report, /cs 28 \(base 0, 32 bits\)/);
    assert.match(report, /0000000001000000 {2}ud2/);
  });

  it("ends a guest that spins for ever, on request, and leaves no thread behind", async () => {
    await using vm = await start({ kernel: kernel("eb fe") });
    setTimeout(() => vm.machine.stop({ kind: "stopped" }), 50);
    assert.deepEqual(await vm.run(), { kind: "stopped" });
  });

  it("serves doorbells without stopping the vCPU, however many", async () => {
    await using vm = await start({
      kernel: kernel(`
        b9 10 27 00 00        ; mov ecx, 10000
        31 c0                 ; xor eax, eax
        a3 50 00 00 d0        ; mov [0xd0000050], eax
        e2 f9                 ; loop
        ${powerOff}`),
    });
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    // No driver is there: each ring that was seen is a violation, and many were merged.
    for (let i = 0; i < 50 && vm.transports[0]?.violations === 0; i++)
      await new Promise((r) => setTimeout(r, 10));
    const rings = vm.transports[0]?.violations ?? 0;
    assert.ok(rings >= 1 && rings <= 10_000, `${rings}`);
  });

  it("boots out of a mapped kernel file, which the guest's writes never reach", async () => {
    const folder = mkdtempSync(join(tmpdir(), "kernel-"));
    const path = join(folder, "vmlinux");
    // Says the byte at 16 MiB + 80 KiB, overwrites it, says it again.
    const code = Uint8Array.from(
      Buffer.from(
        "66baf803a00040010" + "1eec60500400101" + "42a000400101ee66ba0006b034eeebfe",
        "hex",
      ),
    );
    const image = new Uint8Array(100 * 1024 + 5).fill(0x41);
    image.set(code);
    const elf = makeVmlinux({
      pvhEntry: 0x100_0000,
      segments: [{ address: 0x100_0000, bytes: image }],
    });
    // The segment's bytes begin at a page of the file, as in a real vmlinux.
    const at = elf.length - image.length;
    const aligned = new Uint8Array(4096 + image.length);
    aligned.set(elf.subarray(0, at));
    aligned.set(image, 4096);
    new DataView(aligned.buffer).setBigUint64(64 + 56 + 8, 4096n, true);
    writeFileSync(path, aligned);
    using file = mapWholeFile(path);
    const seen: number[] = [];
    await using vm = await start({
      kernel: file.bytes,
      onSerial: (byte) => seen.push(byte),
    });
    assert.deepEqual(await vm.run(), { kind: "power-off" });
    assert.deepEqual(seen, [0x41, 0x42]);
    assert.equal(vm.machine.memory.readU8(0x100_0000 + image.length - 1), 0x41);
    assert.equal(vm.machine.memory.readU8(0x100_0000 + image.length), 0);
    assert.deepEqual(Uint8Array.from(readFileSync(path)), aligned);
    rmSync(folder, { recursive: true });
  });

  it("is saved in the middle and goes on in another machine as if nothing had been", async () => {
    // Prints 0 to 9 with a pause after each, then powers off.
    const counting = kernel(`
      bb 30 00 00 00        ; mov ebx, '0'
      66 ba f8 03           ; mov dx, 0x3f8
      88 d8                 ; mov al, bl
      ee                    ; out dx, al
      b9 00 90 01 00        ; mov ecx, 102400
      e2 fe                 ; loop $
      43                    ; inc ebx
      83 fb 3a              ; cmp ebx, '9' + 1
      75 ec                 ; jne (mov dx)
      ${powerOff}`);
    let output = "";
    const print = (byte: number) => {
      output += String.fromCharCode(byte);
    };
    await using first = await start({
      kernel: counting,
      onSerial: (byte) => {
        print(byte);
        if (byte === 0x33) first.pause();
      },
    });
    assert.deepEqual(await first.run(), { kind: "paused" });
    const state = structuredClone(await first.save());
    const half = output;
    await using second = await start({ kernel: counting, onSerial: print });
    second.machine.memory.copyIn(0, first.machine.memory.copyOut(0, 64 * MiB));
    await second.restore(state);
    assert.deepEqual(await second.run(), { kind: "power-off" });
    assert.match(half, /^0123/);
    assert.equal(output, "0123456789");
  });

  it("is paused and goes on itself", async () => {
    await using vm = await start({ kernel: kernel("eb fe") });
    for (let i = 0; i < 3; i++) {
      setTimeout(() => vm.pause(), 20);
      assert.deepEqual(await vm.run(), { kind: "paused" });
    }
  });

  it("survives a guest that writes nonsense into every register", async () => {
    await using vm = await start({
      kernel: kernel(`
        bb 00 00 00 d0        ; mov ebx, 0xd0000000
        b9 00 05 00 00        ; mov ecx, 0x500: a window and a quarter
        69 c1 b1 79 37 9e     ; imul eax, ecx, 0x9e3779b1
        89 03                 ; mov [ebx], eax
        8b 03                 ; mov eax, [ebx]
        83 c3 04              ; add ebx, 4
        e2 f1                 ; loop
        ${powerOff}`),
    });
    assert.deepEqual(await vm.run(), { kind: "power-off" });
  });

  it("refuses what is no kernel, and too little memory, and leaves nothing running", async () => {
    await assert.rejects(start({ kernel: new Uint8Array(4096) }), KernelImageError);
    const missing = { path: "/nonexistent/disk", readOnly: true };
    await assert.rejects(start({ kernel: kernel("f4"), disks: [missing] }), /ENOENT/);
    await assert.rejects(
      start({ kernel: kernel("f4"), initrd: new Uint8Array(60 * MiB) }),
      BootError,
    );
  });
});
