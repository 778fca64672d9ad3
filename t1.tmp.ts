import { HandlerSet } from "./vmm-sandbox/translator/interpreter/forms.ts";
import { buildCore } from "./vmm-sandbox/translator/interpreter/core.ts";
let t = performance.now();
const set = new HandlerSet();
console.log(set.plans.length, performance.now() - t); t = performance.now();
const core = buildCore(set.plans, { initialPages: 1, maximumPages: 65536, shared: true });
console.log(core.bytes.length, performance.now() - t); t = performance.now();
try { const m = new WebAssembly.Module(core.bytes); console.log("ok", performance.now() - t); } catch (e) {
  console.log(String(e));
  const m = /function #(\d+)/.exec(String(e)); if (m) { const i = Number(m[1]) - 4 - 3 - 9; console.log(i, set.plans[i]?.key); }
}
