/** The generated interpreter, compiled once in a process, and the memory it runs in. */
import { buildCore, buildLegacyCore } from "../interpreter/core.ts";
import { HandlerSet } from "../interpreter/forms.ts";
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

let corePlans: HandlerSet | undefined;

let coreModule: { readonly module: WebAssembly.Module; readonly tableSize: number } | undefined;

/** The interpreter is the same for every CPU: compiled once in a process. */
export function core() {
  corePlans ??= new HandlerSet();
  if (!coreModule) {
    const { bytes, tableSize } = buildCore(corePlans.plans, {
      initialPages: 1,
      maximumPages: 65_536,
      shared: true,
    });
    coreModule = { module: new WebAssembly.Module(bytes), tableSize };
  }
  return { set: corePlans, ...coreModule };
}

let legacyModule: WebAssembly.Module | undefined;

/** What 16- and 32-bit code needs besides. */
export function legacyCore(): WebAssembly.Module {
  corePlans ??= new HandlerSet();
  legacyModule ??= new WebAssembly.Module(
    buildLegacyCore(corePlans.plans, { initialPages: 1, maximumPages: 65_536, shared: true }),
  );
  return legacyModule;
}
