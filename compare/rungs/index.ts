/** The ladder and its peers, in the order of the report. */
import { bare } from "./bare.ts";
import { bubblewrap } from "./bubblewrap.ts";
import { crun, runc } from "./bundles.ts";
import { docker, podman } from "./engines.ts";
import { container, kvm, kvmCold, rootless, software, softwareCold } from "./ours.ts";
import { qemu, qemuKvm } from "./qemu.ts";
import type { Rung } from "./rung.ts";

export const rungs: readonly Rung[] = [
  bare,
  container,
  rootless,
  kvm,
  kvmCold,
  software,
  softwareCold,
  runc,
  crun,
  bubblewrap,
  podman,
  docker,
  qemuKvm,
  qemu,
];
