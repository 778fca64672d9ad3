/** An image as a plain directory, for those that run bundles. */
import { unpackFlat } from "../image/index.ts";
import { openPlaces } from "./places.ts";
import { type ResolveOptions, resolveImage } from "./resolve-image.ts";

/** Unpacks an image's layers, one over the other, into an empty directory. */
export async function flattenImage(
  root: string | undefined,
  name: string,
  directory: string,
  options: ResolveOptions = {},
): Promise<void> {
  const places = openPlaces(root);
  using store = places.store;
  const record = await resolveImage(places, name, { ...options, pull: "never" });
  const { signal } = options;
  await unpackFlat(store, record, directory, signal === undefined ? {} : { signal });
}
