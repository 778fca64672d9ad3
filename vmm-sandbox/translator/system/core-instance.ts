/** The generated interpreter, compiled once in a process. */
import { buildCore } from "../interpreter/core.ts";
import { HandlerSet } from "../interpreter/forms.ts";

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
