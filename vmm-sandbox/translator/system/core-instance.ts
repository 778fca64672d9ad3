/** The generated interpreter, compiled once in a process. */
import { buildCore, buildLegacyCore } from "../interpreter/core.ts";
import { buildBridge, type HostFunctionName } from "../interpreter/core-functions.ts";
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
function core() {
  allowBranchHints();
  corePlans ??= new HandlerSet();
  if (!coreModule) {
    const { bytes, tableSize } = interpreter();
    coreModule = { module: new WebAssembly.Module(bytes), tableSize };
  }
  return { set: corePlans, ...coreModule };
}

/** What 16- and 32-bit code needs besides. */
function legacyCore(): WebAssembly.Module {
  corePlans ??= new HandlerSet();
  legacyModule ??= new WebAssembly.Module(
    buildLegacyCore(corePlans.plans, { initialPages: 1, maximumPages: 65_536, shared: true }),
  );
  return legacyModule;
}

/** Puts TypeScript's functions where all modules find them. */
function bridge(): WebAssembly.Module {
  bridgeModule ??= new WebAssembly.Module(
    buildBridge({ initialPages: 1, maximumPages: 65_536, shared: true }),
  );
  return bridgeModule;
}

let legacyModule: WebAssembly.Module | undefined;
let bridgeModule: WebAssembly.Module | undefined;

/** Which form of which instruction has which handler. */
export function handlerSet(): HandlerSet {
  return core().set;
}

export type HostFunctions = Readonly<
  Record<HostFunctionName, (first: number, second: number) => unknown>
>;

/** A CPU's own interpreter, over its memory, with the table that regions join. */
export class CoreInstance {
  readonly table: WebAssembly.Table;
  /** Runs from a record on. */
  readonly enter: (record: number) => void;
  /** Goes on at RIP when the caches know it, else leaves with `exitReason.lookup`. */
  readonly resume: () => void;
  readonly #imports: { readonly env: Readonly<Record<string, unknown>> };
  #hasLegacy = false;

  constructor(memory: WebAssembly.Memory, host: HostFunctions) {
    const { module, tableSize } = core();
    this.table = new WebAssembly.Table({ element: "anyfunc", initial: tableSize });
    this.#imports = { env: { memory, table: this.table } };
    new WebAssembly.Instance(bridge(), { env: { memory, table: this.table, ...host } });
    const { exports } = new WebAssembly.Instance(module, this.#imports);
    // SAFE: `core.ts` exports it with this type.
    this.enter = exports["enter"] as (record: number) => void;
    // SAFE: as above.
    this.resume = exports["resume"] as () => void;
  }

  /** Adds the handlers of 16- and 32-bit code, once. */
  loadLegacy(): void {
    if (this.#hasLegacy) return;
    this.#hasLegacy = true;
    new WebAssembly.Instance(legacyCore(), this.#imports);
  }
}
