import manifest from "../package.json" with { type: "json" };

/** The package's version: the one place that states it is package.json. */
export const VERSION: string = manifest.version;
