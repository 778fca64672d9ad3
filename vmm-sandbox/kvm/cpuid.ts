/**
 * What CPUID tells the guest: what KVM supports on this host, shaped for this machine.
 *
 * Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E; KVM's own leaves:
 * https://docs.kernel.org/virt/kvm/x86/cpuid.html
 */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const SIGNIFICANT_INDEX = 1;
const bit = (n: number) => 2 ** n;

// Leaf 1, ECX.
const VMX = bit(5);
const PDCM = bit(15);
const X2APIC = bit(21);
const TSC_DEADLINE = bit(24);
const HYPERVISOR = bit(31);
// Leaf 1, EDX.
const HTT = bit(28);
// Leaf 0x80000001, ECX.
const CMP_LEGACY = bit(1);
const SVM = bit(2);
const TOPOEXT = bit(22);

/** The entries for vCPU `id` of `count`. Pure. */
export function shapeCpuid(
  supported: readonly CpuidEntry[],
  { id, count }: { readonly id: number; readonly count: number },
): readonly CpuidEntry[] {
  const kept = supported.filter((entry) => entry.function !== 0xb && entry.function !== 0x1f);
  const maxLeaf = supported.find((entry) => entry.function === 0)?.eax ?? 0;
  const topology = maxLeaf >= 0xb ? describeTopology(id, count) : [];
  return [...kept.map((entry) => shape(entry, id, count)), ...topology];
}

function shape(entry: CpuidEntry, id: number, count: number): CpuidEntry {
  switch (entry.function) {
    case 1:
      return shapeFeatures(entry, id, count);
    case 4: // deterministic cache parameters: cores in the package, caches shared by nobody
      return { ...entry, eax: ((entry.eax & 0x3fff) | ((powerOfTwo(count) - 1) * bit(26))) >>> 0 };
    case 6: // thermal and power: only ARAT, the timer that does not stop
      return { ...entry, eax: entry.eax & bit(2), ebx: 0, ecx: 0, edx: 0 };
    case 0xa: // no performance counters
      return { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    case 0x8000_0001:
      return { ...entry, ecx: (entry.ecx & ~(SVM | TOPOEXT | CMP_LEGACY)) >>> 0 };
    case 0x8000_0008: // size identifiers: threads in the package
      return { ...entry, ecx: count - 1 };
    case 0x8000_000a: // no nested SVM
    case 0x8000_001d:
    case 0x8000_001e:
      return { ...entry, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    default:
      return entry;
  }
}

function shapeFeatures(entry: CpuidEntry, id: number, count: number): CpuidEntry {
  const clflushQuadwords = 8;
  const ebx =
    (entry.ebx & 0xff) + clflushQuadwords * bit(8) + powerOfTwo(count) * bit(16) + id * bit(24);
  const ecx = ((entry.ecx & ~(VMX | PDCM)) | X2APIC | TSC_DEADLINE | HYPERVISOR) >>> 0;
  const edx = (count > 1 ? entry.edx | HTT : entry.edx & ~HTT) >>> 0;
  return { ...entry, ebx, ecx, edx };
}

/** Leaf 0xb: one thread per core, all cores in one package. */
function describeTopology(id: number, count: number): readonly CpuidEntry[] {
  const [THREAD, CORE] = [1, 2];
  const entry = { function: 0xb, flags: SIGNIFICANT_INDEX, edx: id };
  return [
    { ...entry, index: 0, eax: 0, ebx: 1, ecx: 0 + THREAD * bit(8) },
    { ...entry, index: 1, eax: Math.log2(powerOfTwo(count)), ebx: count, ecx: 1 + CORE * bit(8) },
    { ...entry, index: 2, eax: 0, ebx: 0, ecx: 2 },
  ];
}

function powerOfTwo(count: number): number {
  return 2 ** Math.ceil(Math.log2(count));
}
