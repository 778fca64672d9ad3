/**
 * The guest's stack as helpers use it: pushes and pops happen on a copy of rSP, which `commit`
 * stores, so that a page fault finds everything as it was.
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { attribute, type DescriptorCache, segmentIndex } from "./registers.ts";

/** How a stack segment is addressed; 64-bit code knows neither base nor size. */
export type StackShape = { readonly base: bigint; readonly mask: bigint };

export const flatStack: StackShape = { base: 0n, mask: (1n << 64n) - 1n };

export function stackShape(segment: DescriptorCache): StackShape {
  return { base: segment.base, mask: segment.attributes & attribute.big ? 0xffff_ffffn : 0xffffn };
}

export class GuestStack {
  private pointer: bigint;
  private readonly shape: StackShape;
  private readonly cpu: Cpu;
  /** Whose rights pushes need: the stack's privilege level may be a new one. */
  private readonly isUser: boolean;

  constructor(
    cpu: Cpu,
    pointer = cpu.registers.gpr(4),
    shape = currentStack(cpu),
    isUser = cpu.isUser,
  ) {
    this.cpu = cpu;
    this.pointer = pointer;
    this.shape = shape;
    this.isUser = isUser;
  }

  private linear(offset: bigint): bigint {
    const { base, mask } = this.shape;
    if (this.shape === flatStack) return BigInt.asUintN(64, offset);
    return (base + (offset & mask)) & 0xffff_ffffn;
  }

  private move(by: number): void {
    if (this.shape === flatStack) {
      this.pointer = BigInt.asUintN(64, this.pointer + BigInt(by));
      return;
    }
    const { mask } = this.shape;
    const moved = (this.pointer + BigInt(by)) & mask;
    this.pointer = (this.pointer & ~mask) | moved;
  }

  push(bytes: number, value: bigint): void {
    this.move(-bytes);
    const address = this.linear(this.pointer);
    this.cpu.writeSystem(address, bytes, BigInt.asUintN(bytes * 8, value), this.isUser);
  }

  pop(bytes: number): bigint {
    const value = this.cpu.readAs(this.linear(this.pointer), bytes, this.isUser);
    this.move(bytes);
    return value;
  }

  /** What lies `offset` above the top. */
  peek(offset: number, bytes: number): bigint {
    return this.cpu.readAs(this.linear(this.pointer + BigInt(offset)), bytes, this.isUser);
  }

  drop(bytes: number): void {
    this.move(bytes);
  }

  get linearTop(): bigint {
    return this.linear(this.pointer);
  }

  get top(): bigint {
    return this.pointer;
  }

  commit(): void {
    this.cpu.registers.setGpr(4, this.pointer);
  }
}

export function currentStack(cpu: Cpu): StackShape {
  if (cpu.is64) return flatStack;
  return {
    base: cpu.registers.get64(state.segmentBase + segmentIndex.ss * 8),
    mask: cpu.registers.get64(state.stackMask),
  };
}
