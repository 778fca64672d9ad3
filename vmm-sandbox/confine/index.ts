/** The monitor's confinement: how it is started, and how it seals itself. */

export * from "./filter.ts";
export * from "./seal.ts";
export * from "./start-confined.ts";
