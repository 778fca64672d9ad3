/** The generated interpreter, compiled once in a process. */
import { buildCore, buildLegacyCore } from "../interpreter/core.ts";
import { buildBridge } from "../interpreter/core-functions.ts";
import { HandlerSet } from "../interpreter/forms.ts";
import type { SavedInterpreter } from "../saved-code.ts";
import { allowBranchHints } from "../wasm/engine.ts";

let corePlans: HandlerSet | undefined;

let coreModule: { readonly module: WebAssembly.Module; readonly tableSize: number } | undefined;
let coreBytes: SavedInterpreter | undefined;

/** Spares generating it: what this build of ours made before. Only before the first `core()`. */
export function useInterpreter(saved: SavedInterpreter): void {
  coreBytes ??= saved;
}

/** As it was generated. */
export function interpreter(): SavedInterpreter {
  corePlans ??= new HandlerSet();
  coreBytes ??= buildCore(corePlans.plans, { initialPages: 1, maximumPages: 65_536, shared: true });
  return coreBytes;
}

/** The interpreter is the same for every CPU: compiled once in a process. */
export function core() {
  allowBranchHints();
  corePlans ??= new HandlerSet();
  if (!coreModule) {
    const { bytes, tableSize } = interpreter();
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

let bridgeModule: WebAssembly.Module | undefined;

/** Puts TypeScript's functions where all modules find them. */
export function bridge(): WebAssembly.Module {
  bridgeModule ??= new WebAssembly.Module(
    buildBridge({ initialPages: 1, maximumPages: 65_536, shared: true }),
  );
  return bridgeModule;
}
