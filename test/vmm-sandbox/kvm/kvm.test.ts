/**
 * KVM with guests of a few bytes, on the host's own /dev/kvm. Each guest is machine code with its
 * assembly beside it.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { Worker } from "node:worker_threads";
import { planBoot, writeBoot } from "../../../vmm-sandbox/boot/index.ts";
import { startWorker } from "../../../vmm-sandbox/host/start-worker.ts";
import { drainEventFd, KvmVcpu, KvmVm, openKvm } from "../../../vmm-sandbox/kvm/index.ts";
import { type BusDevice, Machine, type VmExit } from "../../../vmm-sandbox/machine/index.ts";
import { makeVmlinux } from "../boot/images.ts";

const RAM = 0x200_0000;

interface Access {
  readonly bus: string;
  readonly write: boolean;
  readonly offset: number;
  readonly size: number;
  readonly value: number;
}

/** A device that logs, and answers reads with 0x11223344 + offset. */
function logger(bus: string, log: Access[]): BusDevice {
  return {
    read: (offset, size) => {
      const value = ((0x1122_3344 + offset) & (size === 4 ? -1 : size === 2 ? 0xffff : 0xff)) >>> 0;
      log.push({ bus, write: false, offset, size, value });
      return value;
    },
    write: (offset, size, value) => void log.push({ bus, write: true, offset, size, value }),
  };
}

class Guest implements Disposable {
  readonly vm: KvmVm;
  readonly machine: Machine;
  readonly vcpu: KvmVcpu;
  readonly log: Access[] = [];

  constructor(options: { irqchip?: boolean } = {}) {
    this.vm = new KvmVm({ memorySizeBytes: RAM, irqchip: options.irqchip ?? false });
    this.machine = new Machine({ memory: this.vm.memory, interrupts: this.vm });
    this.machine.pio.attach({
      name: "ports",
      base: 0xe0,
      sizeBytes: 16,
      device: logger("pio", this.log),
    });
    this.machine.mmio.attach({
      name: "mmio",
      base: 0xd000_0000,
      sizeBytes: 0x1000,
      device: logger("mmio", this.log),
    });
    this.vcpu = new KvmVcpu(this.vm, 0, 1, this.machine);
    this.machine.addVcpu(this.vcpu);
  }

  /** Real mode at 0:0x7000. */
  loadReal(hex: string): this {
    this.vm.memory.copyIn(0x7000, bytes(hex));
    const { system } = this.vcpu.getRegisters();
    this.vcpu.setRegisters({
      system: { cs: { ...system.cs, base: 0n, selector: 0 } },
      general: { rip: 0x7000n, rflags: 2n, rsp: 0x6000n },
    });
    return this;
  }

  /** Protected or long mode at 16 MiB, entered as a kernel would be. */
  loadKernel(hex: string, pvh: boolean): this {
    const code = bytes(hex);
    const kernel = makeVmlinux({
      ...(pvh ? { pvhEntry: 0x100_0000 } : {}),
      segments: [{ address: 0x100_0000, bytes: code, sizeBytes: 0x1000 }],
    });
    const plan = planBoot({ kernel, commandLine: "", memorySizeBytes: RAM });
    writeBoot(this.vm.memory, plan);
    this.vcpu.setRegisters(plan.registers);
    return this;
  }

  run(): VmExit {
    return this.vcpu.run();
  }

  [Symbol.dispose](): void {
    this.vcpu[Symbol.dispose]();
    this.vm[Symbol.dispose]();
  }
}

function residentBytes(): number {
  const pages = readFileSync("/proc/self/statm", "latin1").split(" ")[1];
  return Number(pages) * 4096;
}

/**
 * Port 0xe0 has another thread raise the line after a while, 0xe1 stops the machine. Raised at once,
 * the interrupt might come before the guest's HLT: an emulated SVM forgets STI's shadow.
 */
async function raiseOnPorts(guest: Guest, gsi: number): Promise<Worker> {
  const workerData = guest.vm.line(gsi).fd.number;
  const worker = startWorker("test/vmm-sandbox/kvm/ringer.worker.ts", import.meta.url, {
    workerData,
  });
  await once(worker, "message");
  const original = guest.machine.pio.writeBytes.bind(guest.machine.pio);
  guest.machine.pio.writeBytes = (port, data) => {
    original(port, data);
    if (port === 0xe0) worker.postMessage("raise");
    if (port === 0xe1) guest.machine.stop({ kind: "stopped" });
  };
  return worker;
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replace(/;[^\n]*/g, "").replace(/\s+/g, ""), "hex"));
}

describe("KVM", () => {
  before(function () {
    try {
      openKvm()[Symbol.dispose]();
    } catch (error) {
      console.log(`    skipped: ${error}`);
      this.skip();
    }
  });

  it("runs real mode: ports of every width, both directions, then HLT", () => {
    using guest = new Guest().loadReal(`
      b0 41           ; mov al, 0x41
      e6 e9           ; out 0xe9, al
      66 b8 78563412  ; mov eax, 0x12345678
      66 e7 e0        ; out 0xe0, eax
      e5 e2           ; in ax, 0xe2
      a3 00 60        ; mov [0x6000], ax
      f4              ; hlt`);
    assert.deepEqual(guest.run(), { reason: "halt" });
    assert.deepEqual(guest.log, [
      { bus: "pio", write: true, offset: 9, size: 1, value: 0x41 },
      { bus: "pio", write: true, offset: 0, size: 4, value: 0x12345678 },
      { bus: "pio", write: false, offset: 2, size: 2, value: 0x3346 },
    ]);
    assert.equal(guest.vm.memory.readU16(0x6000), 0x3346);
  });

  it("repeats string output byte by byte", () => {
    using guest = new Guest().loadReal(`
      be 00 71        ; mov si, 0x7100
      b9 05 00        ; mov cx, 5
      ba e9 00        ; mov dx, 0xe9
      f3 6e           ; rep outsb
      f4              ; hlt`);
    guest.vm.memory.copyIn(0x7100, Buffer.from("hello"));
    assert.deepEqual(guest.run(), { reason: "halt" });
    assert.equal(String.fromCharCode(...guest.log.map(({ value }) => value)), "hello");
  });

  it("enters a kernel through PVH: 32-bit, EBX at the start info, MMIO of every width", () => {
    using guest = new Guest().loadKernel(
      `
      8b 03                 ; mov eax, [ebx]
      a3 00 00 00 d0        ; mov [0xd0000000], eax
      66 a1 04 00 00 d0     ; mov ax, [0xd0000004]
      e6 e9                 ; out 0xe9, al
      c6 05 08 00 00 d0 7f  ; mov byte [0xd0000008], 0x7f
      f4`,
      true,
    );
    assert.deepEqual(guest.run(), { reason: "halt" });
    assert.deepEqual(guest.log, [
      { bus: "mmio", write: true, offset: 0, size: 4, value: 0x336ec578 },
      { bus: "mmio", write: false, offset: 4, size: 2, value: 0x3348 },
      { bus: "pio", write: true, offset: 9, size: 1, value: 0x48 },
      { bus: "mmio", write: true, offset: 8, size: 1, value: 0x7f },
    ]);
  });

  it("enters a kernel in long mode on our page tables: 64-bit registers and accesses", () => {
    using guest = new Guest().loadKernel(
      `
      48 b8 f0debc9a78563412  ; mov rax, 0x123456789abcdef0
      49 89 c7                ; mov r15, rax
      48 89 04 25 00 00 10 00 ; mov [0x100000], rax
      8b 86 02 02 00 00       ; mov eax, [rsi+0x202]
      f4`,
      false,
    );
    assert.deepEqual(guest.run(), { reason: "halt" });
    const { general, system } = guest.vcpu.getRegisters();
    assert.equal(general.r15, 0x123456789abcdef0n);
    assert.equal(general.rax, 0x53726448n);
    assert.equal(guest.vm.memory.readU64(0x10_0000), 0x123456789abcdef0n);
    assert.equal(system.efer & 0x500n, 0x500n);
    assert.equal(system.cs.l, 1);
  });

  it("follows a guest from real mode to long mode by its own doing", () => {
    using guest = new Guest().loadReal(`
      fa                      ; cli
      66 b8 20 00 00 00       ; mov eax, CR4.PAE
      0f 22 e0                ; mov cr4, eax
      66 b8 00 90 00 00       ; mov eax, 0x9000
      0f 22 d8                ; mov cr3, eax
      66 b9 80 00 00 c0       ; mov ecx, EFER
      66 b8 00 01 00 00       ; mov eax, LME
      66 31 d2                ; xor edx, edx
      0f 30                   ; wrmsr
      0f 01 16 00 05          ; lgdt [0x500]
      66 b8 01 00 00 80       ; mov eax, PG|PE
      0f 22 c0                ; mov cr0, eax
      ea 3d 70 10 00          ; jmp 0x10:0x703d
      00 00 00 00 00 00       ; (padding)
      48 31 c0                ; xor rax, rax      at 0x703d
      48 ff c8                ; dec rax
      f4`);
    const { memory } = guest.vm;
    memory.copyIn(0x500, bytes("1f00 08050000")); // limit, base 0x508
    memory.writeU64(0x508 + 0x10, 0x00af_9b00_0000_ffffn);
    memory.writeU64(0x9000, 0xa003n);
    memory.writeU64(0xa000, 0xb003n);
    memory.writeU64(0xb000, 0x83n);
    assert.deepEqual(guest.run(), { reason: "halt" });
    const { general, system } = guest.vcpu.getRegisters();
    assert.equal(general.rax, 0xffff_ffff_ffff_ffffn);
    assert.equal(system.efer & 0x400n, 0x400n);
  });

  it("reports a triple fault", () => {
    using guest = new Guest().loadKernel("0f 0b", false); // ud2 without an IDT
    assert.deepEqual(guest.run(), { reason: "shutdown" });
  });

  it("stops after the access by which a device stopped the machine", () => {
    using guest = new Guest();
    guest.machine.pio.attach({
      name: "power",
      base: 0x600,
      sizeBytes: 1,
      device: { read: () => 0, write: () => guest.machine.stop({ kind: "power-off" }) },
    });
    guest.loadReal("ba 00 06 ee eb fe"); // mov dx, 0x600; out dx, al; jmp $
    assert.deepEqual(guest.run(), { reason: "kicked" });
    assert.deepEqual(guest.machine.stopReason, { kind: "power-off" });
  });

  it("returns at once when the kick came before run()", () => {
    using guest = new Guest().loadReal("eb fe"); // jmp $
    guest.vcpu.kick();
    assert.deepEqual(guest.run(), { reason: "kicked" });
  });

  it("is kicked out of an endless loop by another thread, each time", async () => {
    using guest = new Guest().loadReal("eb fe");
    const worker = startWorker("test/vmm-sandbox/kvm/kicker.worker.ts", import.meta.url, {
      workerData: guest.vcpu.kickTarget,
    });
    await once(worker, "message"); // it is up: starting needs this thread
    for (let i = 0; i < 3; i++) {
      worker.postMessage(20);
      assert.deepEqual(guest.run(), { reason: "kicked" });
    }
    await worker.terminate();
  });

  it("rings a bell without an exit: ioeventfd on the queue-notify register", () => {
    using guest = new Guest();
    const bell = guest.vm.bindBell(0xd000_0050, 1);
    guest.loadKernel(
      `
      b8 01 00 00 00        ; mov eax, 1
      a3 50 00 00 d0        ; mov [0xd0000050], eax
      a3 50 00 00 d0
      31 c0                 ; xor eax, eax
      a3 50 00 00 d0        ; another queue: an exit
      f4`,
      true,
    );
    assert.deepEqual(guest.run(), { reason: "halt" });
    assert.equal(drainEventFd(bell), 2);
    assert.equal(drainEventFd(bell), 0);
    assert.deepEqual(guest.log, [{ bus: "mmio", write: true, offset: 0x50, size: 4, value: 0 }]);
    guest.vm.unbindBell(bell, 0xd000_0050, 1);
  });

  it("wakes a halted guest through an irqfd and the 8259, in real mode", async () => {
    using guest = new Guest({ irqchip: true }).loadReal(`
      fa              ; cli
      b0 11 e6 20     ; ICW1: edge, cascade, ICW4
      b0 20 e6 21     ; ICW2: vectors from 0x20
      b0 04 e6 21     ; ICW3
      b0 01 e6 21     ; ICW4: 8086
      b0 df e6 21     ; all masked but IRQ 5
      e6 e0           ; out 0xe0, al
      fb              ; sti
      f4              ; hlt
      e6 e1           ; out 0xe1, al
      f4              ; hlt`);
    guest.vm.memory.writeU32(0x25 * 4, 0x3000);
    guest.vm.memory.copyIn(0x3000, bytes("e6 e2 b0 20 e6 20 cf")); // out 0xe2; EOI; iret
    const ringer = await raiseOnPorts(guest, 5);
    assert.deepEqual(guest.run(), { reason: "kicked" });
    await ringer.terminate();
    assert.deepEqual(
      guest.log.map(({ offset }) => offset),
      [0, 2, 1],
    );
  });

  it("wakes a halted guest through an irqfd and the IO-APIC, in long mode", async () => {
    using guest = new Guest({ irqchip: true });
    // IO-APIC pin 5 → vector 0x30, local APIC enabled; the handler writes to a port and returns.
    guest.loadKernel(
      `
      b0 ff e6 21 e6 a1       ; the 8259s are masked: line 5 is theirs too
      b8 00 20 00 00          ; mov eax, 0x2000
      0f 01 18                ; lidt [rax]
      bb 00 00 c0 fe          ; mov ebx, 0xfec00000
      c7 03 1b 00 00 00       ; mov dword [rbx], 0x1b       high half of pin 5
      c7 43 10 00 00 00 00    ; mov dword [rbx+0x10], 0     to APIC 0
      c7 03 1a 00 00 00       ; mov dword [rbx], 0x1a       low half
      c7 43 10 30 00 00 00    ; mov dword [rbx+0x10], 0x30  fixed, edge, unmasked
      bb 00 00 e0 fe          ; mov ebx, 0xfee00000
      c7 83 f0 00 00 00 ff 01 00 00 ; mov dword [rbx+0xf0], 0x1ff
      bc 00 80 00 00          ; mov esp, 0x8000
      e6 e0                   ; out 0xe0, al
      fb                      ; sti
      f4                      ; hlt
      e6 e1                   ; out 0xe1, al
      f4                      ; hlt`,
      false,
    );
    const { memory } = guest.vm;
    const handler = 0x3000;
    // The APICs' registers are at 4 GiB - 20 MiB: map that GiB too, in 2 MiB pages.
    for (let i = 0; i < 512; i++)
      memory.writeU64(0x4000 + i * 8, BigInt(0xc000_0000 + i * 0x20_0000) | 0x83n);
    memory.writeU64(0xa000 + 3 * 8, 0x4003n);
    memory.copyIn(0x2000, bytes("ff0f 0010000000000000")); // IDT at 0x1000
    memory.writeU64(0x1000 + 0x30 * 16, 0x0000_8e00_0010_0000n | BigInt(handler));
    memory.copyIn(
      handler,
      bytes(`
      e6 e2                   ; out 0xe2, al
      c7 83 b0 00 00 00 00 00 00 00 ; mov dword [rbx+0xb0], 0   EOI
      48 cf                   ; iretq`),
    );
    const ringer = await raiseOnPorts(guest, 5);
    assert.deepEqual(guest.run(), { reason: "kicked" });
    await ringer.terminate();
    assert.deepEqual(
      guest.log.map(({ offset }) => offset),
      [0, 2, 1],
    );
  });

  it("saves a vCPU and goes on with it in another VM", () => {
    using first = new Guest().loadKernel(
      `
      bb 07 00 00 00        ; mov ebx, 7
      f4                    ; hlt
      01 db                 ; add ebx, ebx
      f4`,
      false,
    );
    assert.deepEqual(first.run(), { reason: "halt" });
    const state = structuredClone(first.vcpu.save());
    using second = new Guest();
    second.vm.memory.copyIn(0, first.vm.memory.copyOut(0, RAM));
    second.vcpu.restore(state);
    assert.deepEqual(second.run(), { reason: "halt" });
    assert.equal(second.vcpu.getRegisters().general.rbx, 14n);
    assert.deepEqual(second.vcpu.getRegisters().system.cr3, state.system.cr3);
  });

  it("restores every field that it saves, APIC and MSRs included", () => {
    using first = new Guest({ irqchip: true }).loadKernel("eb fe", false);
    first.vcpu.kick();
    first.run();
    const state = first.vcpu.save();
    using second = new Guest({ irqchip: true });
    second.vcpu.restore(structuredClone(state));
    const again = second.vcpu.save();
    const stable = (s: typeof state) => ({
      ...s,
      msrs: s.msrs.filter(([index]) => ![0x10, 0x6e0].includes(index)),
    });
    assert.deepEqual(stable(again), stable(state));
    assert.ok(state.msrs.length > 20, `${state.msrs.length} MSRs`);
  });

  it("takes machines of more memory than one view can show", () => {
    const GiB = 2 ** 30;
    using vm = new KvmVm({ memorySizeBytes: 12 * GiB });
    assert.equal(vm.memory.sizeBytes, 12 * GiB);
    for (const address of [0, 3 * GiB - 8, 4 * GiB, 6 * GiB - 4, 13 * GiB - 8]) {
      vm.memory.writeU64(address, BigInt(address) + 1n);
      assert.equal(vm.memory.readU64(address), BigInt(address) + 1n);
    }
    assert.equal(vm.memory.contains(13 * GiB - 8, 9), false);
  });

  it("gives guest memory back to the host: zeros, and fewer resident pages", () => {
    using guest = new Guest();
    const { memory } = guest.vm;
    memory.fill(0x100_0000, 0x100_0000, 0xff);
    const before = residentBytes();
    guest.vm.discard(0x100_0000, 0x100_0000);
    assert.ok(before - residentBytes() > 0xc0_0000, `${before} -> ${residentBytes()}`);
    assert.equal(memory.readU64(0x100_0000), 0n);
    assert.equal(memory.readU64(0x1ff_fff8), 0n);
  });

  it("offers TSC deadline, x2APIC and the hypervisor bit, hides nested virtualisation", () => {
    using guest = new Guest().loadKernel(
      `
      b8 01 00 00 00        ; mov eax, 1
      0f a2                 ; cpuid
      f4`,
      false,
    );
    assert.deepEqual(guest.run(), { reason: "halt" });
    const { rcx, rbx } = guest.vcpu.getRegisters().general;
    assert.equal((rcx >> 31n) & 1n, 1n);
    assert.equal((rcx >> 24n) & 1n, 1n);
    assert.equal((rcx >> 21n) & 1n, 1n);
    assert.equal((rcx >> 5n) & 1n, 0n);
    assert.equal(rbx >> 24n, 0n);
  });
});
