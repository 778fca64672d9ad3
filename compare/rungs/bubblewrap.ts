/** bubblewrap: namespaces without cgroups or seccomp, as Flatpak starts programs. */
import { join } from "node:path";
import { INSIDE } from "../workspace.ts";
import { needProgram } from "./bundles.ts";
import { type Invocation, nothingToClose, type OpenRung, type Rung } from "./rung.ts";

export const bubblewrap: Rung = {
  name: "bwrap",
  kind: "peer",
  description: "bubblewrap: namespaces, no seccomp filter, no cgroup",
  async open(space): Promise<OpenRung> {
    needProgram("bwrap", "bubblewrap");
    const tree = await space.tree();
    const invoke = (args: readonly string[], network = ["--unshare-net"]): Invocation => ({
      command: [
        ...["bwrap", "--bind", tree, "/", "--proc", "/proc", "--dev", "/dev"],
        ...["--ro-bind", space.probeFolder, join("/", INSIDE), "--chdir", "/"],
        ...["--unshare-pid", "--unshare-uts", "--unshare-ipc", ...network],
        ...args,
      ],
    });
    return {
      ...nothingToClose,
      probe: (args) => invoke([`${INSIDE}/probe`, ...args]),
      outward: {
        way: "the host's network, without --unshare-net",
        to: "loopback",
        probe: (args) => invoke([`${INSIDE}/probe`, ...args], []),
      },
      run: (command) => invoke([...space.defaults.entrypoint, ...command]),
      sharesKernel: true,
      writable: "/",
      holdFile: `${INSIDE}/hold`,
      notes: ["on the image unpacked into a plain directory, without an overlay"],
    };
  },
};
