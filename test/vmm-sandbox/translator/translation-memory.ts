/**
 * A guest that never stops writing new hot code, like one with a compiler of its own: prints, as JSON,
 * the process's resident memory after each eighth of the rounds, what was compiled, and how many
 * instances of WebAssembly modules are left of it.
 *
 *   node --expose-gc --import tsx translation-memory.ts ROUNDS
 */
import { startBeside } from "./supervisor.ts";

const loopAt = 0x30_0000;
/** Loops a round; each lies in a page of its own, is about so long, and runs so often. */
const [loops, instructions, times] = [16, 150, 400];
/** Of WebAssembly: some eight rounds, after which everything is dropped. */
const bytesLimit = 1 << 20;

const instances = { made: 0, freed: 0 };
const registry = new FinalizationRegistry(() => {
  instances.freed++;
});
WebAssembly.Instance = new Proxy(WebAssembly.Instance, {
  construct(target, args: ConstructorParameters<typeof WebAssembly.Instance>) {
    const made = new target(...args);
    instances.made++;
    registry.register(made, undefined);
    return made;
  },
});

/** Collects what nobody holds, and lets the registry hear of it. */
async function collect(): Promise<void> {
  const { Bun, gc } = globalThis as { Bun?: { gc(now: boolean): void }; gc?: () => void };
  for (let turn = 0; turn < 5; turn++) {
    if (Bun) Bun.gc(true);
    else if (gc) gc();
    else throw new Error("Cannot collect: expected Bun, or node --expose-gc");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const le32 = (value: number): readonly number[] => [0, 8, 16, 24].map((n) => (value >> n) & 0xff);

/** mov ecx, times; again: add eax, n … ; dec ecx; jnz again; hlt */
function loop(seed: number): Uint8Array {
  const body: number[] = [];
  for (let i = 0; i < instructions; i++) body.push(0x05, ...le32(seed * instructions + i));
  const again = [...body, 0xff, 0xc9];
  const back = -(again.length + 6);
  return Uint8Array.from([0xb9, ...le32(times), ...again, 0x0f, 0x85, ...le32(back), 0xf4]);
}

async function main(rounds: number): Promise<void> {
  const guest = startBeside();
  const { cpu, registers, machine, vcpu, thread } = guest;
  const { jit, translator } = cpu;
  const patience = setInterval(() => undefined, 60_000); // the compiler's thread keeps nobody alive
  await thread.ready;
  clearInterval(patience);
  translator.hotThreshold = 50;
  jit.bytesLimit = bytesLimit;
  const residentMiB: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < loops; i++)
      machine.memory.copyIn(loopAt + i * 4096, loop(round * loops + i));
    const { modules } = jit.statistics;
    for (let turn = 0; jit.statistics.modules === modules; turn++) {
      if (turn > 1000) throw new Error("Cannot go on: no module came within 10 s");
      for (let i = 0; i < loops; i++) {
        registers.rip = BigInt(loopAt + i * 4096);
        cpu.halted = false;
        vcpu.run();
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
      jit.poll();
    }
    if ((round + 1) % (rounds / 8) === 0) residentMiB.push(process.memoryUsage.rss() >> 20);
  }
  await collect();
  const { modules, instructions: compiled } = jit.statistics;
  const { flushes } = translator.statistics;
  const kept = instances.made - instances.freed;
  console.log(JSON.stringify({ residentMiB, modules, kept, compiled, flushes }));
  await thread.end();
}

await main(Number(process.argv[2]));
