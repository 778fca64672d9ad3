/**
 * Chain IDs: one digest for a layer together with all below it.
 * OCI image-spec 1.1, config.md, "Layer ChainID".
 */

import { type Digest, formatDigest } from "../../oci/index.ts";
import { createHash } from "../builtin.ts";

export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    const hex = createHash("sha256").update(`${below} ${diffId}`).digest("hex");
    chain.push(below === undefined ? diffId : formatDigest("sha256", hex));
  }
  return chain;
}
