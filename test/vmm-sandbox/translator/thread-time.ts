/** Processor time of the calling thread alone; Node tells it of the process only, compilers included. */
import { openDriver, systemCallOf } from "./host-cpu.ts";

const CLOCK_GETTIME = 228;
const CLOCK_THREAD_CPUTIME_ID = 3;

/** A clock in microseconds. */
export async function openThreadClock(): Promise<() => number> {
  const driver = await openDriver();
  const systemCall = systemCallOf(driver);
  const timespec = driver.mapAnonymous(4096);
  const view = driver.view(timespec, 16);
  const words = new DataView(view.buffer, view.byteOffset, 16);
  return () => {
    systemCall(CLOCK_GETTIME, CLOCK_THREAD_CPUTIME_ID, timespec, 0, 0, 0, 0);
    return Number(words.getBigInt64(0, true)) * 1e6 + Number(words.getBigInt64(8, true)) / 1e3;
  };
}
