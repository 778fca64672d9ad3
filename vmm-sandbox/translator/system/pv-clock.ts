/** kvm-clock: two structures in guest memory that say how time follows from the TSC. */
import type { Cpu } from "./cpu.ts";

/** pvclock_vcpu_time_info: https://docs.kernel.org/virt/kvm/x86/msr.html. */
export function writeSystemTime(cpu: Cpu, address: number): void {
  const host = cpu.paging.hostOf(address);
  if (host < 0) return;
  const view = new DataView(cpu.registers.bytes.buffer, host, 32);
  view.setUint32(0, 2, true); // even: consistent
  view.setBigUint64(8, BigInt(cpu.tsc.atClockZero), true); // the TSC when the clock was 0
  view.setBigUint64(16, 0n, true);
  view.setUint32(24, 0x8000_0000, true); // × 2³¹ after << 1, >> 32: nanoseconds are TSC ticks
  view.setInt8(28, 1);
  view.setUint8(29, 1); // stable
}

export function writeWallClock(cpu: Cpu, address: number): void {
  const host = cpu.paging.hostOf(address);
  if (host < 0) return;
  const start = cpu.machine.clock.wallTime() - BigInt(Math.floor(cpu.machine.clock.now()));
  const view = new DataView(cpu.registers.bytes.buffer, host, 12);
  view.setUint32(0, 2, true);
  view.setUint32(4, Number(start / 1_000_000_000n), true);
  view.setUint32(8, Number(start % 1_000_000_000n), true);
}
