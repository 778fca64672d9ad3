/** EROFS images, written straight from layers. README.md has the ideas. */

export { TarReader } from "../tar/reader.ts";
export { ErofsBuilder, type ErofsSummary } from "./builder.ts";
export { bufferedImageFile, type ImageFile } from "./image-file.ts";
export { ErofsReader } from "./read-file.ts";
export { type RootImageOptions, rootImage } from "./root-image.ts";
