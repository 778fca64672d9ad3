/**
 * Seeded mutation of texts, for the parsers of foreign text. MANYWORLDS_FUZZ_SEED picks the seed
 * and MANYWORLDS_FUZZ_RUNS how many mutants; both are printed with a failure.
 */
const SEED = Number(process.env["MANYWORLDS_FUZZ_SEED"] ?? 1);
const RUNS = Number(process.env["MANYWORLDS_FUZZ_RUNS"] ?? 2000);

/** Marsaglia's xorshift32. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Calls `check` with mutants of `samples`; whatever it throws is rethrown with the input. */
export function fuzzText(samples: readonly string[], check: (text: string) => void): void {
  const random = randomNumbers(SEED);
  for (let run = 0; run < RUNS; run++) {
    const text = mutate(samples, random);
    try {
      check(text);
    } catch (cause) {
      const input = JSON.stringify(text);
      throw new Error(`Seed ${SEED}, run ${run} failed on ${input}`, { cause });
    }
  }
}

const interesting = [
  "",
  " ",
  "\0",
  "\n",
  '"',
  "\\",
  "/",
  ":",
  "@",
  ",",
  ";",
  "=",
  "[",
  "]",
  "{",
  "}",
  "<",
  ">",
  "null",
  "-1",
  "1e400",
  "9007199254740993",
  "__proto__",
  "\u202e",
  "é",
  "\ud800",
  "..",
  "%00",
  "A",
];

function mutate(samples: readonly string[], random: (below: number) => number): string {
  let text = samples[random(samples.length)] ?? "";
  for (let edit = random(6); edit >= 0; edit--) {
    const at = random(text.length + 1);
    const length = random(Math.min(20, text.length + 1));
    const insert = interesting[random(interesting.length)] ?? "";
    switch (random(4)) {
      case 0:
        text = text.slice(0, at) + insert + text.slice(at);
        break;
      case 1:
        text = text.slice(0, at) + text.slice(at + length);
        break;
      case 2:
        text = text.slice(0, at) + text.slice(at, at + length) + text.slice(at);
        break;
      default:
        text = text.slice(0, at) + insert + text.slice(at + length);
    }
  }
  return text;
}
