/** An integer operand in the guest's memory: the same for both tiers, which differ in how they translate. */
import { type I32, type I64, i32, i64, type Local } from "../wasm/assembler.ts";
import { v128 } from "../wasm/simd.ts";
import { asInt, type Int, keepInt, type Place, type Site, type VectorPlace } from "./site.ts";

/** `size` is in bits: 8, 16, 32 or 64. The address is translated anew for each access. */
export function memoryPlace(
  site: Pick<Site, "host" | "commit">,
  size: number,
  address: Local<I64>,
): Place {
  const bytes = size / 8;
  let begun: Local<I32> | undefined;
  const load = (host: Local<I32>): Int => {
    if (size === 64) return asInt(i64.load(host.get()));
    if (size === 32) return asInt(i32.load(host.get()));
    return asInt(size === 16 ? i32.load16U(host.get()) : i32.load8U(host.get()));
  };
  const store = (host: Local<I32>, value: Local<Int>): void => {
    if (size === 64) i64.store(host.get(), value.get());
    else if (size === 32) i32.store(host.get(), value.get());
    else if (size === 16) i32.store16(host.get(), value.get());
    else i32.store8(host.get(), value.get());
    site.commit(host);
  };
  return {
    kind: "memory",
    size,
    read: () => load(site.host(address, bytes, false)),
    begin: () => {
      begun = site.host(address, bytes, "update");
      return load(begun);
    },
    finish: (value) => {
      const kept = keepInt(size, value);
      if (!begun) throw new Error("Cannot finish an update that was not begun");
      store(begun, kept);
    },
    write: (value) => store(site.host(address, bytes, true), value),
  };
}

/** An MMX register: the mantissa of an x87 register; writing it sets exponent and sign to ones. */
export function mmxPlace(address: () => I32, offset: number): VectorPlace {
  return {
    kind: "vector",
    size: 64,
    read: () => v128.load64Zero(address(), offset),
    write: (value) => {
      v128.store64Lane(address(), value.get(), 0, offset);
      i32.store16(address(), i32.const(0xffff), offset + 8);
    },
  };
}
