/** Makes kernel files for tests: the smallest that a loader must accept. */
export function makeBzImage(changes: (view: DataView) => void = () => {}): Uint8Array {
  const setupSectors = 3;
  const payloadBytes = 0x4000;
  const file = new Uint8Array((setupSectors + 1) * 512 + payloadBytes);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, setupSectors);
  view.setUint32(0x1f4, payloadBytes / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x201, 0x6c);
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint16(0x206, 0x020f, true);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, 0x100_0000n, true);
  view.setUint32(0x260, 0x20_0000, true);
  file.fill(0x90, (setupSectors + 1) * 512);
  changes(view);
  return file;
}

export interface ElfOptions {
  readonly machine?: number;
  readonly pvhEntry?: number;
  readonly segments?: readonly {
    readonly address: number;
    readonly bytes: Uint8Array;
    readonly sizeBytes?: number;
  }[];
  readonly entry?: number;
}

export function makeVmlinux(options: ElfOptions = {}): Uint8Array {
  const segments = options.segments ?? [
    { address: 0x100_0000, bytes: new Uint8Array(0x1000).fill(0x90) },
  ];
  const note = new Uint8Array(options.pvhEntry === undefined ? 0 : 40);
  if (options.pvhEntry !== undefined) {
    const view = new DataView(note.buffer);
    // A foreign note first: the loader has to step over it.
    view.setUint32(0, 4, true);
    view.setUint32(4, 3, true);
    note.set(new TextEncoder().encode("GNU\0"), 12);
    view.setUint32(20, 4, true);
    view.setUint32(24, 4, true);
    view.setUint32(28, 18, true);
    note.set(new TextEncoder().encode("Xen\0"), 32);
    view.setUint32(36, options.pvhEntry, true);
  }
  const headers = segments.length + 1;
  const dataStart = 64 + headers * 56;
  const total =
    dataStart + note.length + segments.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, options.machine ?? 62, true);
  view.setBigUint64(24, BigInt(options.entry ?? segments[0]?.address ?? 0), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, headers, true);
  let at = dataStart;
  const put = (
    index: number,
    type: number,
    address: number,
    bytes: Uint8Array,
    sizeBytes: number,
  ) => {
    const header = 64 + index * 56;
    view.setUint32(header, type, true);
    view.setBigUint64(header + 8, BigInt(at), true);
    view.setBigUint64(header + 24, BigInt(address), true);
    view.setBigUint64(header + 32, BigInt(bytes.length), true);
    view.setBigUint64(header + 40, BigInt(sizeBytes), true);
    file.set(bytes, at);
    at += bytes.length;
  };
  put(0, 4, 0, note, note.length);
  segments.forEach(({ address, bytes, sizeBytes }, index) => {
    put(index + 1, 1, address, bytes, sizeBytes ?? bytes.length);
  });
  return file;
}
