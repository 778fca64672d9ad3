/** `manyworlds vm run`. */
import { bootKernel } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import type { vmRunFlags } from "../table/vm.ts";
import { statsRequest } from "./cpu-stats.ts";

export const vmRun: Handler<typeof vmRunFlags> = async ({ values }) => {
  if (values.kernel === undefined)
    throw new UsageError("vm run", "A kernel is missing", {
      hint: "name one with --kernel: a bzImage or a vmlinux",
    });
  return await bootKernel({
    kernel: values.kernel,
    initrd: values.initrd,
    commandLine: values.cmdline,
    disks: values.disk,
    memoryBytes: values.memory,
    cpus: values.cpus,
    cpu: values.cpu,
    ...statsRequest("vm run", values["cpu-stats"]),
  });
};
