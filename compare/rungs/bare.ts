/** No isolation: the probe as a process of this machine, which everything else is measured by. */
import { join } from "node:path";
import { findProgram } from "../stopwatch.ts";
import { nothingToClose, type OpenRung, type Rung } from "./rung.ts";

export const bare: Rung = {
  name: "process",
  kind: "bare",
  description: "a process of this machine, nothing between",
  open(space): OpenRung {
    const folder = space.folder("bare");
    const probe = (args: readonly string[]) => ({ command: [space.probe, ...args] });
    return {
      ...nothingToClose,
      probe,
      outward: { way: "its own loopback device", to: "loopback", probe },
      run(command) {
        const words = [...space.defaults.entrypoint, ...command];
        try {
          findProgram(words[0] ?? "");
          return { command: words };
        } catch {
          return undefined; // only the image has it
        }
      },
      sharesKernel: true,
      writable: folder,
      holdFile: join(space.probeFolder, "hold"),
      notes: [],
    };
  },
};
