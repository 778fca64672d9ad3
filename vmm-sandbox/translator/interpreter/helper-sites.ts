/** Instructions that TypeScript executes, by the number in their record's immediate. */
import { Instruction } from "../isa/decode.ts";
import { type Row, rows } from "../isa/instruction-set.ts";

type SavedSite = Readonly<Record<string, unknown>> & {
  readonly row: number;
  readonly kinds: readonly number[];
  readonly values: readonly number[];
  readonly sizes: readonly number[];
};

export type HelperSite = { readonly instruction: Instruction };

export class HelperSites {
  private readonly sites: HelperSite[] = [];
  private readonly byContent = new Map<string, number>();

  get(number: number): Instruction {
    const site = this.sites[number];
    if (!site)
      throw new RangeError(`Cannot find helper site ${number}: there are ${this.sites.length}`);
    return site.instruction;
  }

  clear(): void {
    this.sites.length = 0;
    this.byContent.clear();
  }

  /** All of them in order, as JSON. */
  save(): string {
    const plain = this.sites.map(({ instruction: { row, kinds, values, sizes, ...fields } }) => {
      return {
        ...fields,
        row: row.index,
        kinds: [...kinds],
        values: [...values],
        sizes: [...sizes],
      };
    });
    return JSON.stringify(plain);
  }

  restore(saved: string): void {
    this.clear();
    // SAFE: `save` wrote it; an unknown row has no index.
    for (const { row, kinds, values, sizes, ...fields } of JSON.parse(saved) as SavedSite[]) {
      const instruction = Object.assign(new Instruction(), fields, {
        row: rows[row] as Row,
        kinds,
        values,
        sizes,
      });
      this.byContent.set(keyOf(instruction), this.sites.push({ instruction }) - 1);
    }
  }

  /** One number per distinct instruction. */
  numberOf(it: Instruction): number {
    const key = keyOf(it);
    const known = this.byContent.get(key);
    if (known !== undefined) return known;
    const copy = Object.assign(new Instruction(), it, {
      kinds: it.kinds.slice(),
      values: it.values.slice(),
      sizes: it.sizes.slice(),
    });
    const number = this.sites.push({ instruction: copy }) - 1;
    this.byContent.set(key, number);
    return number;
  }
}

/** Every field: instructions that differ in one only, a displacement say, are not the same. */
function keyOf(it: Instruction): string {
  const { row, kinds, values, sizes, ...fields } = it;
  return [row.index, ...Object.values(fields), ...kinds, ...values, ...sizes].join();
}
