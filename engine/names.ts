/** Container IDs and, for people, names of an adjective and a scientist, as docker's users expect. */

// biome-ignore format: table
const adjectives = [
  "agile", "amber", "ample", "apt", "aware", "balmy", "bold", "brave", "breezy", "bright", "brisk",
  "calm", "candid", "cheery", "clever", "cosmic", "crisp", "curious", "daring", "deft", "earnest",
  "eager", "even", "fair", "fleet", "fluent", "frank", "fresh", "gentle", "glad", "golden", "grand",
  "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow",
  "merry", "mighty", "modest", "nimble", "noble", "patient", "plucky", "polite", "prime", "proud",
  "quick", "quiet", "rapid", "ready", "robust", "rosy", "serene", "sharp", "silent", "smooth", "snug",
  "solid", "spry", "stable", "steady", "sturdy", "sunny", "sure", "swift", "tidy", "trusty", "upbeat",
  "vivid", "warm", "wise", "witty", "zesty",
];

/** People whose work made one machine many. */
// biome-ignore format: table
const people = [
  "amdahl", "atanasoff", "babbage", "backus", "bartik", "bell", "berners", "boole", "brooks",
  "church", "clark", "codd", "corbato", "creasy", "curry", "dahl", "denning", "dijkstra", "eckert",
  "engelbart", "floyd", "goldberg", "goldstine", "hamilton", "hamming", "hoare", "holberton", "hopper",
  "johnson", "karp", "kay", "kernighan", "kilburn", "knuth", "lamport", "liskov", "lovelace", "mauchly",
  "mccarthy", "mcilroy", "minsky", "naur", "neumann", "nygaard", "perlis", "popek", "randell",
  "rice", "ritchie", "rosenblum", "shannon", "snyder", "stibitz", "strachey", "teitelbaum",
  "thompson", "torvalds", "turing", "wijngaarden", "wilkes", "wilkinson", "wirth", "zuse",
];

/** 64 hex digits: never all decimal in the first twelve, which docker reads as a number. */
export function makeId(): string {
  for (;;) {
    const id = Buffer.from(random(32)).toString("hex");
    if (!/^\d{12}/.test(id)) return id;
  }
}

export function makeName(taken: (name: string) => boolean): string {
  const pick = (words: readonly string[]): string =>
    words[Buffer.from(random(2)).readUInt16LE() % words.length] ?? "";
  for (let attempt = 0; ; attempt++) {
    const suffix = attempt < 6 ? "" : String(attempt);
    const name = `${pick(adjectives)}_${pick(people)}${suffix}`;
    if (!taken(name)) return name;
  }
}

/** The global, for node:crypto takes long to load. */
function random(sizeBytes: number): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(sizeBytes));
}
