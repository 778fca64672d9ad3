/**
 * Which pages of anonymous memory were ever touched. The others are zeros, and looking at them would
 * cost a page fault each: more than all the rest of saving a machine.
 */
import { hasNativeCode, syscall } from "../../linux/index.ts";
import { PAGE_SIZE } from "../machine/layout.ts";

/** struct sysinfo of sysinfo(2): totalswap and freeswap. */
const SYSINFO_BYTES = 112;
const [TOTAL_SWAP, FREE_SWAP] = [64, 72];

/**
 * One byte for each page of `bytes`, which begin on a page's border: 0 for those that are zeros for
 * sure. Undefined where nobody can say. mincore(2) calls a page that is swapped out absent, too.
 */
export function touchedPages(bytes: Uint8Array): Uint8Array | undefined {
  if (!hasNativeCode() || isSwapping()) return undefined;
  const pages = new Uint8Array(Math.ceil(bytes.length / PAGE_SIZE));
  return syscall("mincore", bytes, bytes.length, pages) === 0 ? pages : undefined;
}

function isSwapping(): boolean {
  const bytes = new Uint8Array(SYSINFO_BYTES);
  if (syscall("sysinfo", bytes) !== 0) return true;
  const view = new DataView(bytes.buffer);
  return view.getBigUint64(TOTAL_SWAP, true) !== view.getBigUint64(FREE_SWAP, true);
}
