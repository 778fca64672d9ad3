/**
 * The first thing a restored guest does: it sets its clock, which stood still while the machine was
 * saved, and draws random numbers of its own, before any process of a user runs. The VM generation
 * ID says the same to the kernel, but nobody waits for that.
 */
import { CLOCK_REALTIME, O_WRONLY, type Program, timespec } from "../../linux/index.ts";

/** As much as the kernel's generator takes for a new key. */
const SEED_BYTES = 32;
/** random(4) */
const [RNDADDENTROPY, RNDRESEEDCRNG] = [0x4008_5203, 0x5207];

/** Runs in PID 1, while "/" is still the initramfs. `nowMs`: since 1970. */
export function planWake(
  nowMs: number,
  seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES)),
): Program {
  const tv_sec = BigInt(Math.floor(nowMs / 1000));
  const tv_nsec = BigInt(Math.floor((nowMs % 1000) * 1e6));
  const random = { result: "random" };
  return {
    rows: [
      { call: "clock_settime", args: [CLOCK_REALTIME, timespec.encode({ tv_sec, tv_nsec })] },
      { call: "openat", args: [-100, "/dev/urandom", O_WRONLY, 0], as: "random" },
      { call: "ioctl", args: [random, RNDADDENTROPY, encodePool(seed)], note: "add entropy" },
      { call: "ioctl", args: [random, RNDRESEEDCRNG, 0], note: "reseed" },
      { call: "close", args: [random] },
      { end: 0 },
    ],
  };
}

/** struct rand_pool_info: bits of entropy, size in bytes, bytes. */
function encodePool(seed: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + seed.length);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, seed.length * 8, true);
  view.setInt32(4, seed.length, true);
  bytes.set(seed, 8);
  return bytes;
}
