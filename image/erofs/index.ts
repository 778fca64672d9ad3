/** EROFS images, written straight from layers. README.md has the ideas. */
export { ErofsBuilder, type ErofsSummary } from "./builder.ts";
export { bufferedImageFile, type ImageFile } from "./image-file.ts";
