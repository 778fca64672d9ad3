/** From requests to a compiled module, on whatever thread: discovery, emission, the engine's compiler. */
import { compileRegions, type RegionJob } from "./compile.ts";
import { discover } from "./discover.ts";
import type { CompiledModule, CompiledRegion, RegionCompiling, RegionRequest } from "./request.ts";
import { SharedCode } from "./shared-code.ts";

/** Modules have a fixed cost, so hot heads wait for company, but not longer than this. */
export const batchSize = 32;
const maxWaitMs = 8;

const memoryLimits = { initialPages: 1, maximumPages: 65_536, shared: true } as const;

export class RegionCompiler {
  private readonly code: SharedCode;

  constructor(memory: WebAssembly.Memory, ramBytes: number) {
    this.code = new SharedCode(memory, ramBytes);
  }

  compile(requests: readonly RegionRequest[]): CompiledModule | undefined {
    const start = performance.now();
    const epoch = requests.at(-1)?.epoch ?? 0;
    const found = requests
      .filter((request) => request.epoch === epoch) // the others' records are gone
      .map((request) => this.find(request))
      .filter((job) => job !== undefined);
    if (found.length === 0) return undefined;
    const { bytes, irreducible } = compileRegions(found, memoryLimits);
    return {
      epoch,
      module: new WebAssembly.Module(bytes),
      sizeBytes: bytes.length,
      regions: found.map(({ compiled }) => compiled),
      irreducible,
      milliseconds: performance.now() - start,
    };
  }

  private find(request: RegionRequest): (RegionJob & { compiled: CompiledRegion }) | undefined {
    const { code } = this;
    if (!code.isLive(request)) return undefined;
    const region = discover(code.bytes, request.low & 0xfff, code.around(request));
    if (!region) return undefined;
    let instructions = 0;
    for (const block of region.blocks.values()) instructions += block.code.length;
    const compiled = {
      request,
      pages: code.pagesOf(region),
      ...code.codeOf(region),
      blocks: region.blocks.size,
      calls: region.calls,
      instructions,
    };
    const { number, slot, mode } = request;
    return { region, number, slot, isUser: (mode & 1) !== 0, compiled };
  }
}

/** Compiles on the vCPU's own thread: in tests, and where there is no other thread. */
export class CompilingHere implements RegionCompiling {
  private readonly compiler: RegionCompiler;
  private readonly queue: RegionRequest[] = [];
  private waitingSince = 0;
  private hurries = false;

  constructor(memory: WebAssembly.Memory, ramBytes: number) {
    this.compiler = new RegionCompiler(memory, ramBytes);
  }

  submit(request: RegionRequest): void {
    if (this.queue.length === 0) this.waitingSince = performance.now();
    this.queue.push(request);
  }

  take(): CompiledModule | undefined {
    if (this.queue.length === 0) return undefined;
    const isDue = this.hurries || this.queue.length >= batchSize;
    if (!isDue && performance.now() - this.waitingSince <= maxWaitMs) return undefined;
    this.hurries = false;
    return this.compiler.compile(this.queue.splice(0));
  }

  forget(): void {
    this.queue.length = 0;
  }

  hurry(): void {
    this.hurries = true;
  }
}
