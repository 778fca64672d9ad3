/**
 * The functions that all our modules call, at fixed slots of the table.
 *
 * Modules import no functions. An engine compiles a wrapper for every function of ours that a module
 * imports, once a module; and JavaScriptCore (Bun 1.4.5) looks branch hints up by an index that does
 * not count imports, so only without any does it find those of the right function.
 *
 *   TypeScript ─► bridge (a module that imports them and puts them into slots) ─► all other modules
 */
import type { Body } from "../wasm/assembler.ts";
import { beginFunction, type Callee, endFunction, Local, returnCall } from "../wasm/assembler.ts";
import { type FunctionType, type MemoryLimits, ModuleBuilder } from "../wasm/module.ts";

type Declared = FunctionType & { readonly slot: number };

/** From TypeScript. */
const hostFunctions = {
  /** (kind, record or site) → host address or 0: slow path for `state.slowAddress`. */
  slowHost: { slot: 24, parameters: ["i32", "i32"], results: ["i32"] },
  /** Writes what was staged in scratch to where it belongs. */
  commit: { slot: 25, parameters: [], results: [] },
  /** (vector, record or site): notes an exception of the instruction. */
  raise: { slot: 26, parameters: ["i32", "i32"], results: [] },
  /** (record) → state.ts, helperAnswer */
  helper: { slot: 27, parameters: ["i32"], results: ["i32"] },
  /** (region) → whether its pages are where they were. */
  validate: { slot: 28, parameters: ["i32"], results: ["i32"] },
} as const satisfies Record<string, Declared>;

/** Defined in the core. */
const ownFunctions = {
  /** (address, kind, record or site) → host address or 0. */
  slow: { slot: 29, parameters: ["i64", "i32", "i32"], results: ["i32"] },
  /** (address, what for) → physical page and more, or -1: mmu/quick-walk.ts */
  walk: { slot: 31, parameters: ["i64", "i32"], results: ["i32"] },
  /** (target, record): goes on there; `record` is the direct jump to link, or 0. */
  jump: { slot: 30, parameters: ["i64", "i32"], results: [] },
} as const satisfies Record<string, Declared>;

export type HostFunctionName = keyof typeof hostFunctions;
export type CoreFunctionName = HostFunctionName | keyof typeof ownFunctions;

const all: Readonly<Record<CoreFunctionName, Declared>> = { ...hostFunctions, ...ownFunctions };

/** How `module` calls them. */
export function coreFunctions(module: ModuleBuilder): Readonly<Record<CoreFunctionName, Callee>> {
  const callees = Object.entries(all).map(([name, { slot, parameters, results }]) => [
    name,
    { slot, type: module.type(parameters, results) },
  ]);
  // SAFE: the names are those of `all`.
  return Object.fromEntries(callees) as Record<CoreFunctionName, Callee>;
}

/** Defines one of the core's own in the core. */
export function defineOwn(
  module: ModuleBuilder,
  name: keyof typeof ownFunctions,
  body: () => Body,
): void {
  const { slot, parameters, results } = ownFunctions[name];
  const index = module.declare(module.type(parameters, results));
  module.define(index, body());
  module.element(slot, index);
}

/** Imports the functions of TypeScript and puts them into their slots. */
export function buildBridge(memory: MemoryLimits): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(memory, 1);
  const imported = Object.entries(hostFunctions).map(([name, { parameters, results, slot }]) => {
    const type = module.type(parameters, results);
    return { type, slot, count: parameters.length, from: module.import(name, type) };
  });
  for (const { type, slot, count, from } of imported) {
    const index = module.declare(type);
    module.define(index, forwardBody(from, count));
    module.element(slot, index);
  }
  return module.build();
}

function forwardBody(to: number, parameters: number): Body {
  beginFunction(parameters);
  const values = Array.from({ length: parameters }, (_, i) => new Local(i).get());
  returnCall(to, ...values);
  return endFunction();
}
