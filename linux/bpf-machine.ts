/** An interpreter of classic BPF as seccomp uses it, to ask filters questions. */
import { type BpfInstruction, bpfCode } from "./bpf.ts";

export interface SeccompData {
  readonly nr: number;
  readonly arch: number;
  readonly args: readonly bigint[];
}

export function encodeSeccompData({ nr, arch, args }: SeccompData): DataView {
  const view = new DataView(new ArrayBuffer(64));
  view.setUint32(0, nr, true);
  view.setUint32(4, arch, true);
  args.forEach((arg, index) => {
    view.setBigUint64(16 + 8 * index, BigInt.asUintN(64, arg), true);
  });
  return view;
}

/** Value of the `return` that the filter reaches; throws for what the kernel would refuse. */
export function runFilter(filter: readonly BpfInstruction[], data: DataView): number {
  let accumulator = 0;
  for (let at = 0; ; at += 1) {
    const instruction = filter[at];
    if (instruction === undefined) throw new RangeError(`The filter runs past its end at ${at}`);
    const { code: what, jt, jf, k } = instruction;
    if (what === bpfCode.RET_K) return k;
    if (what === bpfCode.LD_W_ABS) accumulator = data.getUint32(k, true);
    else if (what === bpfCode.ALU_AND_K) accumulator = (accumulator & k) >>> 0;
    else if (what === bpfCode.JMP_JA) at += k;
    else if (what === bpfCode.JMP_JEQ_K) at += accumulator === k ? jt : jf;
    else if (what === bpfCode.JMP_JGT_K) at += accumulator > k ? jt : jf;
    else if (what === bpfCode.JMP_JGE_K) at += accumulator >= k ? jt : jf;
    else if (what === 0x16) return accumulator;
    else if (what === 0x45) at += (accumulator & k) !== 0 ? jt : jf;
    else throw new RangeError(`Unknown instruction 0x${what.toString(16)} at ${at}`);
  }
}

export function decodeInstructions(bytes: Uint8Array): readonly BpfInstruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 8 }, (_, index) => ({
    code: view.getUint16(index * 8, true),
    jt: view.getUint8(index * 8 + 2),
    jf: view.getUint8(index * 8 + 3),
    k: view.getUint32(index * 8 + 4, true),
  }));
}
