/**
 * Compiles regions: one function each, many functions to a module.
 *
 *   region of several pages: are they mapped as they were? else on with the head's next record
 *   load used registers and flags into locals
 *   block leave { block exitTo { structured code } store; tail call what is at target } store; return
 */

import type { Emitter } from "../emit/integer.ts";
import { stringEmitter, stringOperations } from "../emit/string.ts";
import { coreFunctions } from "../interpreter/core-functions.ts";
import { emitters } from "../interpreter/forms.ts";
import type { Instruction } from "../isa/decode.ts";
import { jumpCacheEntries, jumpCost, layout, record, regionCellBytes, state } from "../state.ts";
import {
  appendCode,
  type Body,
  beginFunction,
  block,
  br,
  type Callee,
  call,
  endFunction,
  type I32,
  i32,
  i64,
  keep,
  Local,
  localMark,
  releaseLocals,
  returnCall,
  returnCallIndirect,
  takeCode,
  unreachable,
  when,
} from "../wasm/assembler.ts";
import { type MemoryLimits, ModuleBuilder } from "../wasm/module.ts";
import { v128 } from "../wasm/simd.ts";
import { type Block, branchTarget, type Region } from "./discover.ts";
import { RegionFrame, type RegionFunctions, RegionSite, ripAt } from "./region-site.ts";
import { emitStructured, type Structured } from "./structure.ts";

export type RegionJob = {
  readonly region: Region;
  readonly number: number;
  readonly slot: number;
  /** Whether its code runs at CPL 3. */
  readonly isUser: boolean;
};

type ModuleFunctions = RegionFunctions & {
  readonly jump: Callee;
  /** (region i32) → i32: whether its pages are where they were; then its cell says so, too. */
  readonly validate: Callee;
  readonly handlerType: number;
};

/** The module of these regions, and how many had edges that no structured form has. */
export function compileRegions(
  jobs: readonly RegionJob[],
  memory: MemoryLimits,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly irreducible: number } {
  const module = new ModuleBuilder(memory, 1);
  const handlerType = module.type(["i32", "i64"], []);
  const functions = { handlerType, ...coreFunctions(module) };
  let irreducible = 0;
  for (const job of jobs) {
    const { body, cuts } = compileRegion(job, functions);
    if (cuts > 0) irreducible++;
    const index = module.declare(handlerType);
    module.define(index, body);
    module.element(job.slot, index);
  }
  return { bytes: module.build(), irreducible };
}

function compileRegion(
  job: RegionJob,
  functions: ModuleFunctions,
): { readonly body: Body; readonly cuts: number } {
  const { region } = job;
  beginFunction(2);
  const frame = new RegionFrame(functions, job.isUser ? layout.userTlb : layout.kernelTlb);
  let cuts = 0;
  block((leave) => {
    frame.leave = leave;
    block((exitTo) => {
      frame.exitTo = exitTo;
      const graph = {
        entry: 0,
        successors: (node: number) => successors(region, node),
      };
      cuts = emitStructured(graph, (node, structured) =>
        emitBlock(frame, region, node, structured),
      );
      unreachable();
    });
    leaveThroughCache(frame, functions);
  });
  storeRegisters(frame);
  const code = takeCode();
  if (region.pages.length > 1) checkPages(job.number, functions);
  loadRegisters(frame);
  appendCode(code);
  return { body: endFunction(), cuts };
}

/** Checks that code of other pages is still what this region was made of. */
function checkPages(number: number, functions: ModuleFunctions): void {
  const rec = new Local<I32>(0);
  const mapping = i64.xor(
    i64.load(i32.const(0), layout.state + state.modeTag),
    i64.load(i32.const(0), layout.state + state.virtualPage),
  );
  const cell = layout.regionCells + number * regionCellBytes;
  const interpret = (): void =>
    returnCallIndirect(
      functions.handlerType,
      [i32.add(rec.get(), i32.const(record.sizeBytes)), i64.const(0)],
      i32.load16U(rec.get(), record.sizeBytes + record.handler),
    );
  const check = (): void =>
    when(i32.eqz(call<I32>(functions.validate, i32.const(number))), interpret);
  when(i64.ne(mapping, i64.load(i32.const(0), cell)), check, undefined, false);
}

/** On to `target`: what the core's `jump` does, in line for jumps that the cache knows. */
function leaveThroughCache(frame: RegionFrame, functions: ModuleFunctions): void {
  const { target, fuel } = frame;
  storeRegisters(frame);
  when(i32.geS(fuel.get(), i32.const(jumpCost)), () => {
    const hash = i32.xor(i32.wrap(target.get()), i32.wrap(i64.shrU(target.get(), i64.const(14))));
    const index = i32.and(hash, i32.const(jumpCacheEntries - 1));
    const entry = keep.i32(i32.shl(index, i32.const(4)));
    const tag = i64.xor(target.get(), i64.load(i32.const(0), layout.state + state.modeTag));
    when(i64.eq(tag, i64.load(entry.get(), layout.jumpCache)), () => {
      const spent = keep.i32(i32.sub(fuel.get(), i32.const(jumpCost)));
      i32.store(i32.const(0), spent.get(), layout.state + state.fuel);
      const page = keep.i64(i64.and(target.get(), i64.const(-4096)));
      i64.store(i32.const(0), page.get(), layout.state + state.virtualPage);
      const found = keep.i32(i32.load(entry.get(), layout.jumpCache + 8));
      returnCallIndirect(
        functions.handlerType,
        [found.get(), i64.const(0)],
        i32.load16U(found.get(), record.handler),
      );
    });
  });
  returnCall(functions.jump, target.get(), i32.const(0));
}

function successors(region: Region, node: number): readonly number[] {
  const { taken, returns, next } = region.blocks.get(node) as Block;
  return [taken, returns?.node, next].filter(
    (to): to is number => to !== undefined && region.blocks.has(to),
  );
}

function emitBlock(frame: RegionFrame, region: Region, node: number, structured: Structured): void {
  const here = region.blocks.get(node) as Block;
  let mark = localMark();
  frame.comparison = undefined;
  for (const [i, { offset, instruction }] of here.code.entries()) {
    const target = branchTarget(offset, instruction);
    const site = new RegionSite(frame, instruction, offset, {
      direct: () => go(target, here.taken),
      indirect: () => expectReturn(here.returns),
    });
    emitterOf(instruction)(site);
    // A condition right after a comparison uses its operands: they stay until then.
    const next = here.code[i + 1]?.instruction.row.mnemonic ?? "";
    if (frame.comparison && conditional.has(next)) continue;
    frame.comparison = undefined;
    releaseLocals(mark);
    mark = localMark();
  }
  if (here.fallsThrough) go(here.end, here.next);

  /** A return in line mostly goes back to its call. */
  function expectReturn(returns: Block["returns"]): void {
    if (!returns || !region.blocks.has(returns.node) || !structured.has(node, returns.node)) return;
    when(i64.eq(frame.target.get(), ripAt(returns.offset)), () => go(returns.offset, returns.node));
  }

  function go(offset: number, to: number | undefined): void {
    if (to === undefined || !region.blocks.has(to) || !structured.has(node, to)) {
      frame.target.set(ripAt(offset));
      br(frame.exitTo);
      return;
    }
    if (structured.isBackward(node, to)) {
      frame.fuel.set(i32.sub(frame.fuel.get(), i32.const(here.code.length + 2)));
      const leave = (): void => {
        frame.target.set(ripAt(offset));
        br(frame.exitTo);
      };
      when(i32.ltS(frame.fuel.get(), i32.const(0)), leave, undefined, false);
    }
    structured.branch(node, to);
  }
}

const conditional = new Set(["jcc", "setcc", "cmov"]);

function emitterOf(instruction: Instruction): Emitter {
  const { mnemonic } = instruction.row;
  const operation = stringOperations[mnemonic];
  if (!operation) return emitters[mnemonic] as Emitter;
  const compares = operation === "scas" || operation === "cmps";
  const repeat = instruction.repeat === 0 || compares ? instruction.repeat : 0xf3;
  return stringEmitter(operation, repeat);
}

function loadRegisters(frame: RegionFrame): void {
  for (const [i, register] of frame.general.entries())
    register?.set(i64.load(i32.const(0), layout.state + state.gpr + i * 8));
  for (const [i, register] of frame.vectors.entries())
    register?.set(v128.load(i32.const(0), layout.state + state.xmm + i * 16));
  frame.flagResult.set(i64.load(i32.const(0), layout.state + state.flagResult));
  frame.flagAux.set(i32.load(i32.const(0), layout.state + state.flagAux));
  frame.fuel.set(i32.load(i32.const(0), layout.state + state.fuel));
}

function storeRegisters(frame: RegionFrame): void {
  for (const i of frame.writtenGeneral)
    i64.store(i32.const(0), frame.register(i).get(), layout.state + state.gpr + i * 8);
  for (const i of frame.writtenVectors)
    v128.store(i32.const(0), frame.vector(i).get(), layout.state + state.xmm + i * 16);
  i64.store(i32.const(0), frame.flagResult.get(), layout.state + state.flagResult);
  i32.store(i32.const(0), frame.flagAux.get(), layout.state + state.flagAux);
  i32.store(i32.const(0), frame.fuel.get(), layout.state + state.fuel);
}
