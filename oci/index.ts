/** Everything of the OCI specifications that needs no I/O. */
export type { Brand } from "./brand.ts";
export * from "./descriptor.ts";
export * from "./digest.ts";
export * from "./image-config.ts";
/** Table-driven reading of foreign JSON: `json.object({…})`. */
export * as json from "./json.ts";
export * from "./manifest.ts";
export * from "./media-types.ts";
export * from "./platform.ts";
export * from "./reference.ts";
export type * from "./runtime-config.ts";
export type * from "./runtime-config-linux.ts";
export { quoteText, SpecError, type SpecFailure } from "./spec-error.ts";
