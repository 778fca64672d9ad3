/**
 * Generates the interpreter: one module with a handler per plan and the few functions that hold
 * them together. Handlers tail-call each other through the table; nothing dispatches in TypeScript.
 *
 *   table: 0 unused · special handlers · one per plan · (the JIT's regions after them)
 */
import { answerQuickly, refillFetchTlb, walkBody } from "../mmu/quick-walk.ts";
import {
  exitReason,
  fetchTlbEntries,
  helperAnswer,
  jumpCacheEntries,
  jumpCost,
  layout,
  record,
  runIndexEntries,
  runIndexHash,
  state,
} from "../state.ts";
import {
  type Body,
  beginFunction,
  call,
  endFunction,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  Local,
  ret,
  returnCall,
  returnCallIndirect,
  when,
} from "../wasm/assembler.ts";
import { type MemoryLimits, ModuleBuilder } from "../wasm/module.ts";
import { coreFunctions, defineOwn } from "./core-functions.ts";
import type { HandlerPlan } from "./forms.ts";
import { type CoreFunctions, RecordSite } from "./record-site.ts";

/** Handlers that belong to no instruction. */
export const specialHandlers = {
  /** base + displacement */
  addressBase: 1,
  /** base + (index << scale) + displacement */
  addressIndex: 2,
  /** the same plus a segment's base */
  addressSegment: 3,
  /** the same, the sum before the segment cut to 32 bits */
  address32: 4,
  /** RIP of the next instruction + displacement */
  addressRip: 5,
  /** TypeScript does it. */
  helper: 6,
  /** The code here changed: look it up again. */
  stale: 7,
  /** Goes on at the address after this instruction, in another run of records. */
  goOn: 8,
  /** A 64-bit absolute address + a segment's base */
  addressAbsolute: 9,
  /** MOV r64, imm64 */
  moveWide: 10,
  /** Counts down; at zero the run is hot. First record of every run. */
  count: 11,
  /** The same after that: nothing to do. */
  pass: 12,
  /** RIP of the next instruction + displacement + a segment's base */
  addressRipSegment: 14,
  /** 32- and 16-bit code: a segment's base + (base + (index << scale) + displacement, wrapped) */
  addressLegacy32: 15,
  addressLegacy16: 16,
} as const;
/** Slots 24 to 31 hold functions: core-functions.ts. */
export const firstPlanHandler = 32;

export type Core = { readonly bytes: Uint8Array<ArrayBuffer>; readonly tableSize: number };

export function buildCore(plans: readonly HandlerPlan[], memory: MemoryLimits): Core {
  const tableSize = firstPlanHandler + plans.length;
  const module = new ModuleBuilder(memory, tableSize);
  const handlerType = module.type(["i32", "i64"], []);
  const core: CoreFunctions = { handlerType, ...coreFunctions(module) };
  const enter = module.declare(module.type(["i32"], []));
  const resume = module.declare(module.type([], []));
  module.define(enter, enterBody(core));
  module.define(resume, resumeBody(core));
  module.export("enter", enter);
  module.export("resume", resume);
  defineOwn(module, "slow", () => slowBody(core));
  defineOwn(module, "jump", () => jumpBody(core));
  defineOwn(module, "walk", walkBody);
  const add = (slot: number, body: Body): void => {
    const index = module.declare(handlerType);
    module.define(index, body);
    module.element(slot, index);
  };
  for (const [name, slot] of Object.entries(specialHandlers))
    add(slot, specialBody(name as keyof typeof specialHandlers, core));
  for (const [index, plan] of plans.entries())
    if (!plan.legacy) add(firstPlanHandler + index, planBody(plan, core));
  return { bytes: module.build(), tableSize };
}

/** The handlers of 16- and 32-bit code alone, a module that is made when such code first runs. */
export function buildLegacyCore(
  plans: readonly HandlerPlan[],
  memory: MemoryLimits,
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(memory, 1);
  const handlerType = module.type(["i32", "i64"], []);
  const core: CoreFunctions = { handlerType, ...coreFunctions(module) };
  for (const [index, plan] of plans.entries()) {
    if (!plan.legacy) continue;
    const declared = module.declare(handlerType);
    module.define(declared, planBody(plan, core));
    module.element(firstPlanHandler + index, declared);
  }
  return module.build();
}

function slowBody(core: CoreFunctions): Body {
  beginFunction(3);
  const address = new Local<I64>(0);
  const kind = new Local<I32>(1);
  answerQuickly(address, kind, core.walk);
  i64.store(i32.const(0), address.get(), layout.state + state.slowAddress);
  call<I32>(core.slowHost, kind.get(), new Local<I32>(2).get());
  return endFunction();
}

/** Leaves WebAssembly with `target` as RIP. */
function leaveAt(target: Local<I64>, reason: number): void {
  i64.store(i32.const(0), target.get(), layout.state + state.rip);
  i32.store(i32.const(0), i32.const(reason), layout.state + state.exit);
  ret();
}

function leaveToLookUp(target: Local<I64>, from: Local<I32>): void {
  i32.store(i32.const(0), from.get(), layout.state + state.record);
  leaveAt(target, exitReason.lookup);
}

function jumpBody(core: CoreFunctions): Body {
  beginFunction(2);
  const target = new Local<I64>(0);
  const from = new Local<I32>(1);
  const fuel = keep.i32(
    i32.sub(i32.load(i32.const(0), layout.state + state.fuel), i32.const(jumpCost)),
  );
  i32.store(i32.const(0), fuel.get(), layout.state + state.fuel);
  when(i32.ltS(fuel.get(), i32.const(0)), () => leaveAt(target, exitReason.fuel));
  goTo(core, target, from);
  return endFunction();
}

/** Goes on at RIP, wherever that was set; costs no fuel, so that every entry makes progress. */
function resumeBody(core: CoreFunctions): Body {
  beginFunction(0);
  const target = keep.i64(i64.load(i32.const(0), layout.state + state.rip));
  const from = keep.i32(i32.const(0));
  goTo(core, target, from);
  return endFunction();
}

/** `stale`: a record that must not be gone to, though the caches may name it. */
function goTo(core: CoreFunctions, target: Local<I64>, from: Local<I32>, stale?: Local<I32>): void {
  const low = i32.wrap(target.get());
  const hash = i32.xor(low, i32.wrap(i64.shrU(target.get(), i64.const(14))));
  const index = i32.and(hash, i32.const(jumpCacheEntries - 1));
  const entry = keep.i32(i32.shl(index, i32.const(4)));
  const tag = keep.i64(i64.xor(target.get(), i64.load(i32.const(0), layout.state + state.modeTag)));
  when(i64.ne(tag.get(), i64.load(entry.get(), layout.jumpCache)), () =>
    refill(core, target, from, entry, tag),
  );
  const found = keep.i32(i32.load(entry.get(), layout.jumpCache + 8));
  if (stale) when(i32.eq(found.get(), stale.get()), () => leaveToLookUp(target, from));
  const page = keep.i64(i64.and(target.get(), i64.const(-4096)));
  // A direct jump within its page leads here for as long as both exist: link it. Runs that cross
  // into another page depend on that one's mapping and are not linked.
  const linkable = i32.load(entry.get(), layout.jumpCache + 12);
  when(i32.and(linkable, i32.ne(from.get(), i32.const(0))), () => {
    when(i64.eq(page.get(), i64.load(i32.const(0), layout.state + state.virtualPage)), () =>
      i32.store(from.get(), found.get(), record.immediate2),
    );
  });
  i64.store(i32.const(0), page.get(), layout.state + state.virtualPage);
  dispatch(core, found);
}

/** Fills a jump cache entry from fetch TLB and run index (run-caches.ts), or leaves. */
function refill(
  core: CoreFunctions,
  target: Local<I64>,
  from: Local<I32>,
  entry: Local<I32>,
  tag: Local<I64>,
): void {
  const leave = (): void => leaveToLookUp(target, from);
  const pageNumber = i32.wrap(i64.shrU(target.get(), i64.const(12)));
  const fetchIndex = i32.and(pageNumber, i32.const(fetchTlbEntries - 1));
  const fetch = keep.i32(i32.shl(fetchIndex, i32.const(4)));
  const pageTag = i64.and(tag.get(), i64.const(-4096));
  when(i64.ne(pageTag, i64.load(fetch.get(), layout.fetchTlb)), () =>
    refillFetchTlb(target, tag, fetch, core.walk, leave),
  );
  const page = keep.i32(i32.load(fetch.get(), layout.fetchTlb + 8));
  const offset = i32.and(i32.wrap(target.get()), i32.const(0xfff));
  const key = keep.i32(i32.or(offset, i32.load(i32.const(0), layout.state + state.modeKey)));
  const mixed = i32.xor(i32.mul(page.get(), i32.const(runIndexHash)), key.get());
  const run = keep.i32(i32.shl(i32.and(mixed, i32.const(runIndexEntries - 1)), i32.const(4)));
  const differs = (): I32 => {
    const otherPage = i32.ne(page.get(), i32.load(run.get(), layout.runIndex));
    return i32.or(otherPage, i32.ne(key.get(), i32.load(run.get(), layout.runIndex + 4)));
  };
  when(differs(), () => {
    run.set(i32.xor(run.get(), i32.const(16)));
    when(differs(), leave);
  });
  i64.store(entry.get(), tag.get(), layout.jumpCache);
  i32.store(entry.get(), i32.load(run.get(), layout.runIndex + 8), layout.jumpCache + 8);
  i32.store(entry.get(), i32.const(1), layout.jumpCache + 12);
}

function dispatch(core: CoreFunctions, at: Local<I32>): void {
  returnCallIndirect(
    core.handlerType,
    [at.get(), i64.const(0)],
    i32.load16U(at.get(), record.handler),
  );
}

function enterBody(core: CoreFunctions): Body {
  beginFunction(1);
  dispatch(core, new Local<I32>(0));
  return endFunction();
}

function planBody(plan: HandlerPlan, core: CoreFunctions): Body {
  beginFunction(2);
  const { forms, size, opcode, addressSize, legacy } = plan;
  const site = new RecordSite(forms, size, opcode, addressSize, core, legacy);
  plan.emit(site);
  site.next();
  return endFunction();
}

function specialBody(name: keyof typeof specialHandlers, core: CoreFunctions): Body {
  beginFunction(2);
  const site = new RecordSite([], 64, 0, 64, core);
  const rec = new Local<I32>(0);
  const ea = new Local<I64>(1);
  const register = (field: number): I64 => i64.load(i32.load16U(rec.get(), field), layout.state);
  const displacement = (): I64 => i64.load32S(rec.get(), record.immediate);
  const indexed = (): I64 => {
    const scaled = i64.shl(register(record.b), i64.extendU(i32.load16U(rec.get(), record.c)));
    const sum = i64.add(scaled, register(record.a));
    return i64.add(sum, displacement());
  };
  switch (name) {
    case "addressBase":
      ea.set(i64.add(register(record.a), displacement()));
      break;
    case "addressIndex":
      ea.set(indexed());
      break;
    case "addressSegment":
      ea.set(i64.add(indexed(), register(record.d)));
      break;
    case "address32":
      ea.set(i64.add(i64.and(indexed(), i64.const(0xffff_ffffn)), register(record.d)));
      break;
    case "addressLegacy32":
    case "addressLegacy16": {
      const wrap = i64.const(name === "addressLegacy32" ? 0xffff_ffffn : 0xffffn);
      const sum = i64.add(i64.and(indexed(), wrap), register(record.d));
      ea.set(i64.and(sum, i64.const(0xffff_ffffn)));
      break;
    }
    case "addressRip":
      ea.set(i64.add(site.nextRip(), displacement()));
      break;
    case "addressRipSegment":
      ea.set(i64.add(i64.add(site.nextRip(), displacement()), register(record.d)));
      break;
    case "addressAbsolute":
      ea.set(i64.add(i64.load(rec.get(), record.immediate), register(record.a)));
      break;
    case "moveWide":
      i64.store(
        i32.load16U(rec.get(), record.a),
        i64.load(rec.get(), record.immediate),
        layout.state,
      );
      break;
    case "helper": {
      i64.store(i32.const(0), ea.get(), layout.state + state.ea);
      const answer = keep.i32(call<I32>(core.helper, rec.get()));
      when(answer.get(), () => {
        when(i32.eq(answer.get(), i32.const(helperAnswer.jump)), () =>
          returnCall(core.jump, site.loadState64(state.rip), i32.const(0)),
        );
        ret();
      });
      break;
    }
    case "stale": {
      // Jumps that were linked to this record still come here: on to its successor, if known.
      const offset = i32.and(i32.load16U(rec.get(), record.where), i32.const(0xfff));
      const page = keep.i64(i64.extendU(offset));
      const rip = keep.i64(i64.add(site.loadState64(state.virtualPage), page.get()));
      goTo(core, rip, keep.i32(i32.const(0)), rec);
      break;
    }
    case "count": {
      const left = keep.i32(i32.sub(i32.load(rec.get(), record.immediate), i32.const(1)));
      i32.store(rec.get(), left.get(), record.immediate);
      when(i32.eqz(left.get()), () => {
        const offset = i32.and(i32.load16U(rec.get(), record.where), i32.const(0xfff));
        const page = keep.i64(i64.extendU(offset));
        const rip = keep.i64(i64.add(site.loadState64(state.virtualPage), page.get()));
        i64.store(i32.const(0), rip.get(), layout.state + state.rip);
        i32.store(i32.const(0), rec.get(), layout.state + state.record);
        i32.store(i32.const(0), i32.const(exitReason.hot), layout.state + state.exit);
        ret();
      });
      break;
    }
    case "pass":
      break;
    case "goOn":
      site.jumpDirect();
      break;
    default:
      name satisfies never;
  }
  if (name !== "stale" && name !== "goOn") site.next();
  return endFunction();
}
