/**
 * manyworlds as a library: `import { pull, run } from "manyworlds"`.
 *
 * Everything here is loaded when it is first called, so importing it costs nothing.
 */
export {
  type BindMount,
  ContainerError,
  type ContainerOptions,
  type CpuReport,
  type Diagnosis,
  diagnose,
  type Finding,
  ImageNotFoundError,
  type MountOption,
  type OnProgress,
  type ProgressEvent,
  type PulledImage,
  type PullPolicy,
  pull,
  push,
  type RunningContainer,
  type RunningMachine,
  type RunRequest,
  run,
  type SecurityOption,
  type TmpfsMount,
  type TransferOptions,
  VERSION,
} from "./engine/index.ts";
