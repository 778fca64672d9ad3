/**
 * The monitor's process, where it runs from a file: from the sources, or beside the library. (The
 * name ends as those of threads do, so that the build makes a file of it.) The executable has a
 * hidden verb instead.
 */
import { runMonitor } from "./monitor.ts";

await runMonitor(Number(process.argv[2]));
process.exit(0);
