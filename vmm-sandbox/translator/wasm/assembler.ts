/**
 * An assembler for WebAssembly function bodies, written so that emitters read like expressions.
 *
 * Every operator takes its operands as arguments: `i32.add(x.get(), i32.const(1))`. JavaScript
 * evaluates arguments first, and evaluating an argument appends its code; the operator then appends
 * its opcode, which is WebAssembly's stack order. The values `I32`, `I64`… exist only for the type
 * checker: an expression must be used exactly where it is written and never be kept in a variable
 * (keep it in a `Local` instead).
 *
 * One function is assembled at a time, into module-wide state: a region JIT calls these functions
 * millions of times, and this form needs neither allocation nor dispatch.
 *
 * WebAssembly Core Specification 2.0 §5.4; tail calls: §5.4.1 of 3.0.
 */
export * from "./code-buffer.ts";
export * from "./operators.ts";
