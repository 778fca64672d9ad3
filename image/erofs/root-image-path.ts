/** Where an image's block device is kept; apart, because those who prune need no builder. */
import { join } from "node:path";
import { digestHex } from "../../oci/index.ts";
import type { ImageRecord } from "../store/images.ts";
import type { Store } from "../store/store.ts";

const CHAIN_DIGITS = 20;

export function rootImagePath(store: Store, { chain }: Pick<ImageRecord, "chain">): string {
  const top = chain.at(-1);
  const name = top === undefined ? "empty" : digestHex(top).slice(0, CHAIN_DIGITS);
  return join(store.root, "erofs", `${name}.erofs`);
}
