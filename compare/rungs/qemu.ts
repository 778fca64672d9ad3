/**
 * QEMU's microvm with the same guest kernel: the fastest start that QEMU has. It has no notion of
 * images, so the probe itself is the guest's first process.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { diagnose, guestKernelPath } from "../../engine/index.ts";
import { probeRoot } from "../first-root.ts";
import { needProgram } from "./bundles.ts";
import {
  type Invocation,
  nothingToClose,
  type OpenRung,
  type Rung,
  RungMissingError,
} from "./rung.ts";

/** Without ACPI there is nothing to calibrate the TSC against; the small kernel has HZ=100. */
const CLOCK_TICK_MS = 10;
const QEMU = "qemu-system-x86_64";

export const qemu: Rung = {
  name: "qemu-software",
  kind: "peer",
  description: "QEMU microvm on its own translator (TCG), the same guest kernel",
  open: (space) => openQemu(space, "tcg"),
};

export const qemuKvm: Rung = {
  name: "qemu-kvm",
  kind: "peer",
  description: "QEMU microvm on KVM, the same guest kernel",
  async open(space) {
    const { rungs } = await diagnose(space.root);
    const kvm = rungs.find(({ name }) => name === "vm on kvm");
    if (kvm?.usable !== true) throw new RungMissingError(kvm?.reason ?? "no KVM", kvm?.cure);
    return openQemu(space, "kvm");
  },
};

type Space = Parameters<Rung["open"]>[0];

async function openQemu(space: Space, accelerator: "tcg" | "kvm"): Promise<OpenRung> {
  needProgram(QEMU, "qemu-system-x86");
  const kernel = await guestKernelPath(space.root);
  const initrd = join(space.folder(`qemu-${accelerator}`), "initramfs");
  writeFileSync(initrd, probeRoot(space.probe));
  const machine = [
    ...[
      QEMU,
      "-M",
      "microvm,acpi=off,isa-serial=on",
      "-accel",
      accelerator,
      "-cpu",
      accelerator === "kvm" ? "host" : "max",
    ],
    ...["-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-serial", "stdio", "-kernel", kernel, "-initrd", initrd],
  ];
  const parameters = "console=ttyS0 loglevel=1 panic=-1 reboot=t";
  const user = ["-netdev", "user,id=way", "-device", "virtio-net-device,netdev=way"];
  const invoke = (args: readonly string[], network: readonly string[]): Invocation => ({
    // without "--", behind which the kernel would not read what QEMU appends: where devices are
    command: [...machine, ...network, "-append", `${parameters} ${args.join(" ")}`],
  });
  return {
    ...nothingToClose,
    probe: (args) => invoke(args, []),
    outward: {
      way: "-netdev user (slirp)",
      to: "gateway",
      probe: (args) => invoke(args, user),
    },
    bringsUp: true,
    run: () => undefined,
    sharesKernel: false,
    writable: "/",
    holdFile: "/init", // which never goes: it is ended from outside
    endsByKill: true,
    clockTickMs: CLOCK_TICK_MS,
    notes: [
      "without the image: the probe is the guest's first process, and files are in memory",
      `its guest finds no clock but the timer's ticks, of ${CLOCK_TICK_MS} ms`,
    ],
  };
}
