import type { Emitter } from "./integer.ts";
export const sseEmitters: Readonly<Record<string, Emitter>> = {};
