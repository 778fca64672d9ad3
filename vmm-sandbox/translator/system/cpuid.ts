/**
 * CPUID: exactly what we implement, nothing else (SDM volume 2, CPUID; KVM's leaves:
 * https://docs.kernel.org/virt/kvm/x86/cpuid.html).
 *
 * x86-64-v2 without AVX or XSAVE; x2APIC, TSC deadline and kvm-clock shape a fast boot.
 */
export type CpuidResult = readonly [eax: number, ebx: number, ecx: number, edx: number];

/** The time-stamp counter counts nanoseconds: conversions become trivial everywhere. */
export const tscKhz = 1_000_000;

const bits = (...numbers: number[]): number => numbers.reduce((sum, n) => sum | (1 << n), 0);

// FPU DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT CLFSH MMX FXSR SSE SSE2
const leaf1Edx = bits(0, 2, 3, 4, 5, 6, 8, 9, 11, 13, 15, 16, 19, 23, 24, 25, 26);
// SSE3 SSSE3 CX16 SSE4.1 SSE4.2 x2APIC POPCNT TSC-deadline hypervisor
const leaf1Ecx = bits(0, 9, 13, 19, 20, 21, 23, 24, 31);
// FSGSBASE ERMS
const leaf7Ebx = bits(0, 9);
// FSRM
const leaf7Edx = bits(4);
// KVM: CLOCKSOURCE2, NOP_IO_DELAY, CLOCKSOURCE_STABLE
const kvmFeatures = bits(1, 3, 24);
// SYSCALL NX 1-GiB pages RDTSCP LM, and AMD's copies of leaf 1 that Intel leaves out
const leaf81Edx = bits(11, 20, 26, 27, 29);

const basic = {
  0: [0x16, ...text("GenuineIntel", [0, 2, 1])],
  // Family 6, model 0x3c: an unremarkable 64-bit core.
  1: [0x000306c1, 0x00010800, leaf1Ecx, leaf1Edx],
  2: [0x00feff01, 0, 0, 0],
  6: [bits(2), 0, 0, 0], // ARAT
  7: [0, leaf7Ebx, 0, leaf7Edx],
  21: [1, 1, tscKhz * 1000, 0],
  22: [tscKhz / 1000, tscKhz / 1000, 100, 0],
  1073741824: [0x4000_0001, ...text("KVMKVMKVM\0\0\0", [0, 1, 2])],
  1073741825: [kvmFeatures, 0, 0, 0],
  2147483648: [0x8000_0008, 0, 0, 0],
  2147483649: [0, 0, bits(0), leaf81Edx], // LAHF in 64-bit mode
  2147483650: text("manyworlds softw", [0, 1, 2, 3]),
  2147483651: text("are CPU         ", [0, 1, 2, 3]),
  2147483652: text("                ", [0, 1, 2, 3]),
  2147483655: [0, 0, 0, bits(8)], // invariant TSC
  2147483656: [0x3028, 0, 0, 0], // 40 physical, 48 virtual bits
} as Readonly<Record<number, readonly number[]>>;

function text(value: string, order: readonly number[]): number[] {
  const bytes = new DataView(new ArrayBuffer(value.length));
  for (let i = 0; i < value.length; i++) bytes.setUint8(i, value.charCodeAt(i));
  return order.map((word) => bytes.getUint32(word * 4, true));
}

export function cpuid(leaf: number, subleaf: number): CpuidResult {
  if (leaf === 0xb) {
    // One thread, one core; x2APIC id 0 in EDX.
    if (subleaf === 0) return [0, 1, 0x100, 0];
    if (subleaf === 1) return [0, 1, 0x201, 0];
    return [0, 0, subleaf & 0xff, 0];
  }
  if (leaf === 7 && subleaf > 0) return [0, 0, 0, 0];
  const known = basic[leaf >>> 0];
  if (!known) return [0, 0, 0, 0];
  const [eax = 0, ebx = 0, ecx = 0, edx = 0] = known;
  return [eax, ebx, ecx, edx];
}
