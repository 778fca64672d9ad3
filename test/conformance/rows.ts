/** All rows of the suite, in the order of the specification. */
import type { Row } from "./row.ts";
import { capabilityRows } from "./rows/capabilities.ts";
import { cgroupRows } from "./rows/cgroups.ts";
import { contractControlRows } from "./rows/contract-control.ts";
import { contractFileRows } from "./rows/contract-files.ts";
import { contractOutputRows } from "./rows/contract-outputs.ts";
import { contractTextRows } from "./rows/contract-texts.ts";
import { deviceRows } from "./rows/devices.ts";
import { filesystemRows } from "./rows/filesystem.ts";
import { hookRows } from "./rows/hooks.ts";
import { kernelRows } from "./rows/kernel.ts";
import { lifecycleRows } from "./rows/lifecycle.ts";
import { mountRows } from "./rows/mounts.ts";
import { namespaceRows } from "./rows/namespaces.ts";
import { operationRows } from "./rows/operations.ts";
import { posixProcessRows } from "./rows/posix-process.ts";
import { processRows } from "./rows/process.ts";
import { rootlessRows } from "./rows/rootless.ts";
import { seccompRows } from "./rows/seccomp.ts";
import { securityModuleRows } from "./rows/security-modules.ts";
import { systemdRows } from "./rows/systemd.ts";
import { terminalRows } from "./rows/terminal.ts";
import { pathAttackRows } from "./security/paths.ts";
import { processAttackRows } from "./security/processes.ts";

export const allRows: readonly Row[] = [
  ...lifecycleRows,
  ...operationRows,
  ...processRows,
  ...posixProcessRows,
  ...capabilityRows,
  ...hookRows,
  ...mountRows,
  ...namespaceRows,
  ...filesystemRows,
  ...kernelRows,
  ...securityModuleRows,
  ...deviceRows,
  ...cgroupRows,
  ...systemdRows,
  ...rootlessRows,
  ...seccompRows,
  ...contractTextRows,
  ...contractFileRows,
  ...contractControlRows,
  ...contractOutputRows,
  ...terminalRows,
  ...pathAttackRows,
  ...processAttackRows,
];
