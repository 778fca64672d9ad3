/** The one WebAssembly memory that a software CPU and its guest's RAM live in. */
import { layout } from "../state.ts";

const wasmPage = 65_536;

/** WebAssembly memory big enough for the CPU's own tables and `ramBytes` of guest RAM. */
export function createCpuMemory(ramBytes: number): WebAssembly.Memory {
  const pages = Math.ceil((layout.ram + ramBytes) / wasmPage);
  if (pages > 65_536)
    throw new RangeError(
      `Cannot give a software CPU ${ramBytes} bytes of RAM: expected at most ${65_536 * wasmPage - layout.ram}`,
    );
  return new WebAssembly.Memory({ initial: pages, maximum: 65_536, shared: true });
}
