export { ErofsBuilder, type ErofsSummary } from "./builder.ts";
export { bufferedImageFile, type ImageFile } from "./image-file.ts";
