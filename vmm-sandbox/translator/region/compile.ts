/**
 * Compiles regions: one function each, many functions to a module.
 *
 *   prologue: load used registers and flags into locals
 *   block leave { block exitTo { structured code } store; tail call jump(target) } store; return
 */

import type { Emitter } from "../emit/integer.ts";
import { stringEmitter, stringOperations } from "../emit/string.ts";
import { emitters } from "../interpreter/forms.ts";
import type { Instruction } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import {
  appendCode,
  type Body,
  beginFunction,
  block,
  br,
  endFunction,
  i32,
  i64,
  localMark,
  releaseLocals,
  returnCall,
  takeCode,
  unreachable,
  when,
} from "../wasm/assembler.ts";
import { type MemoryLimits, ModuleBuilder } from "../wasm/module.ts";
import { v128 } from "../wasm/simd.ts";
import { type Block, branchTarget, type Region } from "./discover.ts";
import { RegionFrame, type RegionFunctions, RegionSite } from "./region-site.ts";
import { emitStructured, type Structured } from "./structure.ts";

export type RegionJob = {
  readonly region: Region;
  readonly number: number;
  readonly slot: number;
  readonly tlbBase: number;
};

type ModuleFunctions = RegionFunctions & { readonly jump: number };

/** The module of these regions, and the jobs that it holds: irreducible ones are left out. */
export function compileRegions(
  jobs: readonly RegionJob[],
  memory: MemoryLimits,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly done: readonly RegionJob[] } {
  const module = new ModuleBuilder(memory, 1);
  const handlerType = module.type(["i32", "i64"], []);
  const slow = module.import("slow", module.type(["i64", "i32", "i32"], ["i32"]));
  const commit = module.import("commit", module.type([], []));
  const raise = module.import("raise", module.type(["i32", "i32"], []));
  const jump = module.import("jump", module.type(["i64", "i32"], []));
  const done: RegionJob[] = [];
  for (const job of jobs) {
    const body = compileRegion(job, { slow, commit, raise, jump });
    if (!body) continue;
    const index = module.declare(handlerType);
    module.define(index, body);
    module.element(job.slot, index);
    done.push(job);
  }
  return { bytes: module.build(), done };
}

function compileRegion(job: RegionJob, functions: ModuleFunctions): Body | undefined {
  const { region } = job;
  beginFunction(2);
  const frame = new RegionFrame(functions, job.number, job.tlbBase);
  let reducible = true;
  block((leave) => {
    frame.leave = leave;
    block((exitTo) => {
      frame.exitTo = exitTo;
      const graph = {
        entry: region.head,
        successors: (start: number) => successors(region, start),
      };
      reducible = emitStructured(graph, (start, structured) =>
        emitBlock(frame, region, region.blocks.get(start) as Block, structured),
      );
      unreachable();
    });
    storeRegisters(frame);
    returnCall(functions.jump, frame.target.get(), i32.const(0));
  });
  storeRegisters(frame);
  if (!reducible) return undefined;
  const code = takeCode();
  loadRegisters(frame);
  appendCode(code);
  return endFunction();
}

function successors(region: Region, start: number): readonly number[] {
  const node = region.blocks.get(start) as Block;
  const list = node.taken !== undefined && region.blocks.has(node.taken) ? [node.taken] : [];
  if (node.fallsThrough && region.blocks.has(node.end)) list.push(node.end);
  return list;
}

function emitBlock(frame: RegionFrame, region: Region, node: Block, structured: Structured): void {
  let mark = localMark();
  frame.comparison = undefined;
  for (const [i, { offset, instruction }] of node.code.entries()) {
    const target = branchTarget(offset, instruction);
    const isCall = instruction.row.mnemonic === "call";
    const site = new RegionSite(frame, instruction, offset, () =>
      isCall ? leaveTo(frame, site, target - offset - instruction.length) : go(target),
    );
    emitterOf(instruction)(site);
    // A condition right after a comparison uses its operands: they stay until then.
    const next = node.code[i + 1]?.instruction.row.mnemonic ?? "";
    if (frame.comparison && conditional.has(next)) continue;
    frame.comparison = undefined;
    releaseLocals(mark);
    mark = localMark();
  }
  if (node.fallsThrough) go(node.end);

  function go(target: number): void {
    if (!region.blocks.has(target)) {
      frame.target.set(
        i64.add(i64.load(i32.const(0), layout.state + state.virtualPage), i64.const(target)),
      );
      br(frame.exitTo);
      return;
    }
    if (structured.isBackward(node.start, target)) {
      frame.fuel.set(i32.sub(frame.fuel.get(), i32.const(node.code.length + 2)));
      when(i32.ltS(frame.fuel.get(), i32.const(0)), () => {
        frame.target.set(
          i64.add(i64.load(i32.const(0), layout.state + state.virtualPage), i64.const(target)),
        );
        br(frame.exitTo);
      });
    }
    structured.branch(node.start, target);
  }
}

const conditional = new Set(["jcc", "setcc", "cmov"]);

function leaveTo(frame: RegionFrame, site: RegionSite, displacement: number): void {
  frame.target.set(i64.add(site.nextRip(), i64.const(displacement)));
  br(frame.exitTo);
}

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
