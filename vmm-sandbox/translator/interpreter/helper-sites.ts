/** Instructions that TypeScript executes, by the number in their record's immediate. */
import { Instruction } from "../isa/decode.ts";

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

  /** One number per distinct instruction. */
  numberOf(it: Instruction): number {
    const key = [
      it.row.index,
      it.opcode,
      it.modRm,
      it.size,
      it.length,
      it.base,
      it.index,
      it.segment,
      it.addressSize,
      it.immediate,
      it.immediate2,
      it.wide,
      it.repeat,
      ...it.kinds,
      ...it.values,
    ].join();
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
