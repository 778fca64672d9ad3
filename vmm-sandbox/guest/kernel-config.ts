/**
 * Configuration of the small guest kernel, option by option, above `make allnoconfig`.
 *
 * What is not here is off: PCI devices, USB, SCSI, graphics, keyboards, modules, debugging. Every
 * option must survive Kconfig's dependencies, or the build says which did not.
 */

export interface KernelOption {
  readonly option: string;
  /** "y", a number, or a quoted string, as in a .config file; "n" where the default would be "y". */
  readonly value: string;
  readonly why: string;
}

// biome-ignore format: table
export const kernelOptions: readonly KernelOption[] = [
  // Processor and platform
  { option: "64BIT",                    value: "y",  why: "both CPUs are x86-64" },
  { option: "SMP",                      value: "y",  why: "more than one vCPU" },
  { option: "NR_CPUS",                  value: "64", why: "bounds per-CPU memory" },
  { option: "X86_X2APIC",               value: "y",  why: "interrupt controller by MSR: no MMIO exit a timer" },
  { option: "HYPERVISOR_GUEST",         value: "y",  why: "asks the hypervisor for its clock" },
  { option: "PARAVIRT",                 value: "y",  why: "needed by KVM_GUEST" },
  { option: "KVM_GUEST",                value: "y",  why: "kvm-clock instead of calibrating against a timer chip" },
  { option: "PVH",                      value: "y",  why: "entry into the uncompressed kernel" },
  { option: "IA32_EMULATION",           value: "y",  why: "32-bit programs in images" },
  { option: "COMPAT_32BIT_TIME",        value: "y",  why: "futexes and timers of 32-bit programs" },
  { option: "X86_VSYSCALL_EMULATION",   value: "y",  why: "programs linked with old C libraries" },
  { option: "MODIFY_LDT_SYSCALL",       value: "y",  why: "Wine and old threads libraries" },
  { option: "RANDOMIZE_BASE",           value: "n",  why: "relocating costs boot time; one workload a guest" },
  { option: "SPECULATION_MITIGATIONS",  value: "n",  why: "the machine's border is the border: one workload a guest" },
  { option: "STACKPROTECTOR",           value: "y",  why: "cheap, and turns an overflow into a clear crash" },
  { option: "KERNEL_GZIP",              value: "y",  why: "bzImage needs some compression; vmlinux, which we boot, has none" },
  { option: "JUMP_LABEL",               value: "y",  why: "branches that never change cost nothing" },
  { option: "NO_HZ_IDLE",               value: "y",  why: "an idle guest takes no timer interrupts" },
  { option: "HIGH_RES_TIMERS",          value: "y",  why: "sleeps shorter than a tick" },
  { option: "HZ_100",                   value: "y",  why: "fewest ticks: each is an exit" },
  { option: "PREEMPT_NONE",             value: "y",  why: "throughput; containers expect no more" },
  { option: "ACPI",                     value: "y",  why: "finds devices as Debian's kernel does; carries the VM generation ID" },
  { option: "PCI",                      value: "y",  why: "Linux does not boot with ACPI but without PCI" },
  { option: "EXPERT",                   value: "y",  why: "shows the options below to Kconfig" },
  { option: "PCI_QUIRKS",               value: "n",  why: "there are no PCI devices" },
  { option: "PRINTK",                   value: "y",  why: "boot messages and crashes" },
  { option: "PRINTK_TIME",              value: "y",  why: "phases of a boot can be told apart" },
  { option: "BUG",                      value: "y",  why: "crashes say where" },
  { option: "KALLSYMS",                 value: "y",  why: "names in a crash" },
  { option: "RANDOM_TRUST_CPU",         value: "y",  why: "getrandom() never blocks at boot" },
  // Memory
  { option: "SWAP",                     value: "y",  why: "memory.swap limits mean something" },
  { option: "SHMEM",                    value: "y",  why: "tmpfs, memfd" },
  { option: "TRANSPARENT_HUGEPAGE",     value: "y",  why: "fewer page walks" },
  { option: "TRANSPARENT_HUGEPAGE_MADVISE", value: "y", why: "only where a program asks: memory stays small" },
  { option: "COMPACTION",               value: "y",  why: "makes room for huge pages" },
  { option: "MIGRATION",                value: "y",  why: "needed by compaction" },
  { option: "HUGETLBFS",                value: "y",  why: "databases in images" },
  { option: "MEMBARRIER",               value: "y",  why: "JIT compilers in images" },
  { option: "ADVISE_SYSCALLS",          value: "y",  why: "madvise: allocators" },
  // Programs
  { option: "BINFMT_ELF",               value: "y",  why: "programs" },
  { option: "BINFMT_SCRIPT",            value: "y",  why: "scripts" },
  { option: "BINFMT_MISC",              value: "y",  why: "emulators in images" },
  { option: "COREDUMP",                 value: "y",  why: "exit status tells that a core was dumped" },
  { option: "MULTIUSER",                value: "y",  why: "user and group IDs" },
  { option: "SYSVIPC",                  value: "y",  why: "PostgreSQL and others" },
  { option: "POSIX_MQUEUE",             value: "y",  why: "OCI's /dev/mqueue" },
  { option: "POSIX_TIMERS",             value: "y",  why: "libraries expect them" },
  { option: "FUTEX",                    value: "y",  why: "threads" },
  { option: "EPOLL",                    value: "y",  why: "event loops" },
  { option: "SIGNALFD",                 value: "y",  why: "event loops" },
  { option: "TIMERFD",                  value: "y",  why: "event loops" },
  { option: "EVENTFD",                  value: "y",  why: "event loops" },
  { option: "AIO",                      value: "y",  why: "databases" },
  { option: "IO_URING",                 value: "y",  why: "event loops" },
  { option: "RSEQ",                     value: "y",  why: "glibc and tcmalloc" },
  { option: "CROSS_MEMORY_ATTACH",      value: "y",  why: "debuggers" },
  { option: "KCMP",                     value: "y",  why: "checkpointing and graphics libraries" },
  { option: "FHANDLE",                  value: "y",  why: "systemd in images" },
  { option: "FILE_LOCKING",             value: "y",  why: "flock, fcntl locks" },
  { option: "INOTIFY_USER",             value: "y",  why: "file watchers" },
  { option: "FANOTIFY",                 value: "y",  why: "file watchers" },
  { option: "USERFAULTFD",              value: "y",  why: "garbage collectors" },
  { option: "KEYS",                     value: "y",  why: "session keyrings as containers have them" },
  // Containers inside the guest
  { option: "NAMESPACES",               value: "y",  why: "config.json means the same in a guest" },
  { option: "UTS_NS",                   value: "y",  why: "hostname" },
  { option: "TIME_NS",                  value: "y",  why: "linux.timeOffsets" },
  { option: "IPC_NS",                   value: "y",  why: "ipc namespace" },
  { option: "USER_NS",                  value: "y",  why: "uid mappings" },
  { option: "PID_NS",                   value: "y",  why: "the container's PID 1 is not the agent" },
  { option: "NET_NS",                   value: "y",  why: "--network none" },
  { option: "CGROUPS",                  value: "y",  why: "limits" },
  { option: "MEMCG",                    value: "y",  why: "--memory inside the guest" },
  { option: "BLK_CGROUP",               value: "y",  why: "resources.io" },
  { option: "CGROUP_SCHED",             value: "y",  why: "--cpus inside the guest" },
  { option: "FAIR_GROUP_SCHED",         value: "y",  why: "cpu.weight" },
  { option: "CFS_BANDWIDTH",            value: "y",  why: "cpu.max" },
  { option: "CGROUP_PIDS",              value: "y",  why: "--pids-limit" },
  { option: "CGROUP_FREEZER",           value: "y",  why: "pause" },
  { option: "CPUSETS",                  value: "y",  why: "--cpuset-cpus" },
  { option: "CGROUP_DEVICE",            value: "y",  why: "device rules of cgroup v1" },
  { option: "BPF_SYSCALL",              value: "y",  why: "device rules of cgroup v2" },
  { option: "CGROUP_BPF",               value: "y",  why: "device rules of cgroup v2" },
  { option: "SECCOMP",                  value: "y",  why: "the container's filter" },
  { option: "SECCOMP_FILTER",           value: "y",  why: "the container's filter" },
  // Devices
  { option: "VIRTIO_MENU",              value: "y",  why: "shows virtio to Kconfig" },
  { option: "VIRTIO_MMIO",              value: "y",  why: "our only transport" },
  { option: "VIRTIO_MMIO_CMDLINE_DEVICES", value: "y", why: "works without ACPI, as for QEMU's microvm" },
  { option: "BLK_DEV",                  value: "y",  why: "shows block devices to Kconfig" },
  { option: "VIRTIO_BLK",               value: "y",  why: "root file system, scratch" },
  { option: "NETDEVICES",               value: "y",  why: "without it Kconfig drops VIRTIO_NET silently" },
  { option: "NET_CORE",                 value: "y",  why: "without it Kconfig drops VIRTIO_NET silently" },
  { option: "VIRTIO_NET",               value: "y",  why: "network" },
  { option: "TUN",                      value: "y",  why: "VPN programs in images" },
  { option: "VETH",                     value: "y",  why: "networks between containers of one guest" },
  { option: "VIRTIO_CONSOLE",           value: "y",  why: "console without an exit a byte" },
  { option: "HW_RANDOM",                value: "y",  why: "shows entropy devices to Kconfig" },
  { option: "HW_RANDOM_VIRTIO",         value: "y",  why: "entropy from the host" },
  { option: "VIRTIO_BALLOON",           value: "y",  why: "gives free memory back to the host" },
  { option: "VSOCKETS",                 value: "y",  why: "the agent's connection" },
  { option: "VIRTIO_VSOCKETS",          value: "y",  why: "the agent's connection" },
  { option: "VIRT_DRIVERS",             value: "y",  why: "without it Kconfig drops VMGENID silently" },
  { option: "VMGENID",                  value: "y",  why: "clones of a snapshot get their own random numbers" },
  { option: "PTP_1588_CLOCK",           value: "y",  why: "shows the KVM clock to Kconfig" },
  { option: "PTP_1588_CLOCK_KVM",       value: "y",  why: "the agent sets the time from the host's after a restore" },
  { option: "TTY",                      value: "y",  why: "terminals" },
  { option: "UNIX98_PTYS",              value: "y",  why: "terminals of containers" },
  { option: "VT",                       value: "n",  why: "there is no screen" },
  { option: "INPUT",                    value: "n",  why: "there is no keyboard: probing for one takes half a second" },
  { option: "SERIO",                    value: "n",  why: "there is no keyboard" },
  { option: "SERIAL_8250",              value: "y",  why: "messages before virtio is up" },
  { option: "SERIAL_8250_CONSOLE",      value: "y",  why: "messages before virtio is up" },
  { option: "SERIAL_8250_NR_UARTS",     value: "1",  why: "each port is probed" },
  { option: "SERIAL_8250_RUNTIME_UARTS", value: "1", why: "each port is probed" },
  { option: "SERIAL_8250_PNP",          value: "y",  why: "without legacy interrupts only ACPI tells the port's: programs could not open it" },
  // File systems
  { option: "BLOCK",                    value: "y",  why: "block devices" },
  { option: "BLK_DEV_INITRD",           value: "y",  why: "our init is in an initramfs" },
  { option: "MISC_FILESYSTEMS",         value: "y",  why: "shows EROFS to Kconfig" },
  { option: "EROFS_FS",                 value: "y",  why: "the image" },
  { option: "EROFS_FS_XATTR",           value: "y",  why: "file capabilities" },
  { option: "EROFS_FS_POSIX_ACL",       value: "y",  why: "access lists of images" },
  { option: "EROFS_FS_SECURITY",        value: "y",  why: "file capabilities" },
  { option: "OVERLAY_FS",               value: "y",  why: "a writable root above the image" },
  { option: "EXT4_FS",                  value: "y",  why: "scratch disks" },
  { option: "EXT4_FS_POSIX_ACL",        value: "y",  why: "scratch disks as images expect them" },
  { option: "EXT4_FS_SECURITY",         value: "y",  why: "file capabilities on scratch disks" },
  { option: "TMPFS",                    value: "y",  why: "scratch in memory, /dev/shm" },
  { option: "TMPFS_POSIX_ACL",          value: "y",  why: "as on hosts" },
  { option: "TMPFS_XATTR",              value: "y",  why: "overlay marks, file capabilities" },
  { option: "DEVTMPFS",                 value: "y",  why: "/dev of the guest" },
  { option: "PROC_FS",                  value: "y",  why: "/proc" },
  { option: "PROC_SYSCTL",              value: "y",  why: "--sysctl" },
  { option: "SYSFS",                    value: "y",  why: "/sys" },
  { option: "FUSE_FS",                  value: "y",  why: "needed by virtio-fs" },
  { option: "VIRTIO_FS",                value: "y",  why: "host directories" },
  // Network
  { option: "NET",                      value: "y",  why: "sockets" },
  { option: "UNIX",                     value: "y",  why: "local sockets" },
  { option: "PACKET",                   value: "y",  why: "DHCP clients, tcpdump" },
  { option: "INET",                     value: "y",  why: "IPv4" },
  { option: "IPV6",                     value: "y",  why: "IPv6" },
];

/** The table as a fragment that `KCONFIG_ALLCONFIG` reads. */
export function formatKernelConfig(options: readonly KernelOption[]): string {
  const lines = options.map(({ option, value }) =>
    value === "n" ? `# CONFIG_${option} is not set` : `CONFIG_${option}=${value}`,
  );
  return `${lines.join("\n")}\n`;
}

/** Options that the finished .config does not have as the table wants them. */
export function lostOptions(
  options: readonly KernelOption[],
  config: string,
): readonly KernelOption[] {
  const lines = new Set(config.split("\n"));
  return options.filter(({ option, value }) => {
    if (value !== "n") return !lines.has(`CONFIG_${option}=${value}`);
    return config.includes(`\nCONFIG_${option}=`);
  });
}
