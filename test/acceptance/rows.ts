/**
 * What `run` promises, as rows that every rung must keep. A difference is written down with its
 * reason, and docs/isolation.md tells users about it; what is not written down must be the same.
 */
import { createHash } from "node:crypto";

export type RungName = "container" | "rootless" | "vm-software" | "vm-kvm";

export interface Expectation {
  readonly status?: number;
  readonly stdout?: string | RegExp;
  readonly stderr?: string | RegExp;
}

export interface Row {
  readonly what: string;
  readonly flags?: readonly string[];
  /** Run by sh -c in the image. */
  readonly script?: string;
  /** Instead of a script: the words behind the image. */
  readonly words?: readonly string[];
  readonly input?: string;
  /** In a terminal of this size. */
  readonly terminal?: { readonly rows: number; readonly columns: number };
  /** Sent to the command when it has printed "ready". */
  readonly signal?: NodeJS.Signals;
  readonly expect: Expectation;
  readonly differs?: Readonly<Partial<Record<RungName, Difference>>>;
}

export interface Difference {
  readonly why: string;
  readonly expect: Expectation;
}

const machines = (difference: Difference) => ({ "vm-software": difference, "vm-kvm": difference });

const BIG = "0123456789abcde\n".repeat(65_536);
const bigDigest = createHash("md5").update(BIG).digest("hex");

// biome-ignore format: table
export const rows: readonly Row[] = [
  { what: "status 0",                  script: "exit 0",                          expect: { status: 0, stdout: "", stderr: "" } },
  { what: "exit status",               script: "exit 42",                         expect: { status: 42 } },
  { what: "killed by a signal",        script: "kill -9 $$; sleep 9",             expect: { status: 137 }, flags: ["--init"] },
  { what: "no such command",           words: ["no-such-command"],                expect: { status: 127, stderr: /no-such-command/ } },
  { what: "command is no program",     words: ["/etc/passwd"],                    expect: { status: 126, stderr: /\/etc\/passwd/ } },
  { what: "stdout apart from stderr",  script: "echo out; echo err >&2",          expect: { stdout: "out\n", stderr: "err\n" } },
  { what: "default command",           words: [],                                 expect: { stdout: "default command\n" } },
  { what: "stdin until its end",       flags: ["-i"], input: "a\nb\n", script: "wc -l; echo end", expect: { stdout: "2\nend\n" } },
  { what: "no stdin without -i",       input: "a\n",  script: "wc -c",            expect: { stdout: "0\n" } },
  { what: "a mebibyte out, unharmed",  script: "yes 0123456789abcde | head -c 1048576 > /big; cat /big >&2; md5sum < /big; exit 3", expect: { status: 3, stdout: `${bigDigest}  -\n`, stderr: BIG } },
  { what: "bytes that are no text",    script: "printf '\\000\\377\\012'|od -An -tx1", expect: { stdout: " 00 ff 0a\n" } },
  { what: "environment",               flags: ["-e", "A=1", "-e", "B=x y"], script: "echo $A:$B:$FROM_IMAGE", expect: { stdout: "1:x y:yes\n" } },
  { what: "working directory",         flags: ["-w", "/new/dir"], script: "pwd",  expect: { stdout: "/new/dir\n" } },
  { what: "user and groups",           flags: ["-u", "web"], script: "id; echo $HOME", expect: { stdout: /^uid=1000\(web\) gid=1000\(web\) groups=(1000\(web\),29\(audio\)|29\(audio\),1000\(web\))\n\/home\/web\n$/ },
    differs: { rootless: { why: "one user ID is mapped: only root exists inside", expect: { status: 125, stderr: /only root exists inside/ } } } },
  { what: "host name",                 flags: ["-h", "world"], script: "hostname; cat /etc/hostname", expect: { stdout: "world\nworld\n" } },
  { what: "PID 1",                     script: "echo $$",                         expect: { stdout: "1\n" } },
  { what: "an init of ours",           flags: ["--init"], script: "test $$ != 1 && echo child", expect: { stdout: "child\n" } },
  { what: "entry point",               flags: ["--entrypoint", "echo"], words: ["a", "b"], expect: { stdout: "a b\n" } },
  { what: "volume, written",           flags: ["-v", "VOLUME:/data"], script: "cat /data/file; echo new > /data/written; cat /data/written", expect: { stdout: "from the host\nnew\n" } },
  { what: "volume, read-only",         flags: ["-v", "VOLUME:/data:ro"], script: "cat /data/file; echo x > /data/x || echo refused", expect: { stdout: "from the host\nrefused\n" } },
  { what: "one file as a volume",      flags: ["-v", "VOLUME/file:/etc/one:ro"], script: "cat /etc/one", expect: { stdout: "from the host\n" } },
  { what: "tmpfs",                     flags: ["--tmpfs", "/t:size=1m"], script: "df -k /t | tail -1 | awk '{print $2}'; stat -f -c %T /t", expect: { stdout: "1024\ntmpfs\n" } },
  { what: "read-only root",            flags: ["--read-only"], script: "echo x > /x || echo refused; echo x > /dev/shm/x && echo shm", expect: { stdout: "refused\nshm\n" } },
  { what: "writable root",             script: "echo kept > /file && cat /file; rm -r /home && ls -d /home || echo gone", expect: { stdout: "kept\ngone\n" } },
  { what: "capabilities",              script: "grep CapEff /proc/self/status",   expect: { stdout: /00000000a80425fb/ } },
  { what: "fewer capabilities",        flags: ["--cap-drop", "ALL", "--cap-add", "CHOWN"], script: "grep CapEff /proc/self/status", expect: { stdout: /0000000000000001$/m } },
  { what: "a seccomp filter",          script: "grep Seccomp: /proc/self/status", expect: { stdout: /\t2$/m } },
  { what: "no new privileges",         flags: ["--security-opt", "no-new-privileges"], script: "grep NoNewPrivs /proc/self/status", expect: { stdout: /\t1$/m } },
  { what: "masked files",              script: "wc -c < /proc/keys; ls /sys/firmware | wc -l", expect: { stdout: "0\n0\n" } },
  { what: "kernel settings read-only", script: "echo x > /proc/sys/kernel/hostname || echo refused", expect: { stdout: "refused\n" } },
  { what: "mounting refused",          script: "mount -t tmpfs x /tmp || echo refused", expect: { stdout: "refused\n" } },
  { what: "devices",                   script: "ls /dev | tr '\\n' ' '",          expect: { stdout: /fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero $/ } },
  { what: "loopback alone",            flags: ["--network", "none"], script: "ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1", expect: { stdout: "lo\n1\n" } },
  { what: "limit on open files",       flags: ["--ulimit", "nofile=100:200"], script: "ulimit -Sn; ulimit -Hn", expect: { stdout: "100\n200\n" } },
  { what: "limit on memory",           flags: ["-m", "64m"], script: "dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?", expect: { stdout: /^137\n$/ },
    differs: { rootless: { why: "cgroups are root's on cgroup v1", expect: { status: 125, stderr: /Cannot limit memory/ } },
      ...machines({ why: "a machine has little more memory than that, so its kernel refuses before it must kill", expect: { stdout: /^(1|137)\n$/ } }) } },
  { what: "limit on processes",        flags: ["--pids-limit", "10"], script: "i=0; while [ $i -lt 30 ]; do sleep 2 & i=$((i+1)); done 2>&1 | grep -c fork", expect: { stdout: /^[1-9]/ },
    differs: { rootless: { why: "cgroups are root's on cgroup v1", expect: { status: 125, stderr: /Cannot limit|pids/ } } } },
  { what: "terminal and its size",     flags: ["-it"], terminal: { rows: 33, columns: 77 }, script: "test -t 0 && test -t 1 && stty size", expect: { stdout: /33 77\r?\n/ } },
  { what: "a forwarded signal",        signal: "SIGTERM", script: "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done", expect: { status: 7, stdout: "ready\ncaught\n" } },
  { what: "the host's process IDs",    flags: ["--pid", "host"], script: "test $(ls -d /proc/[0-9]* | wc -l) -gt 5 && echo many", expect: { stdout: "many\n" },
    differs: machines({ why: "a machine shares no kernel with the host", expect: { status: 125, stderr: /Cannot use --pid host with a virtual machine/ } }) },
  { what: "the host's network",        flags: ["--network", "host"], script: "ls /sys/class/net | wc -l", expect: { stdout: /^\d+\n$/ },
    differs: machines({ why: "a machine shares no kernel with the host", expect: { status: 125, stderr: /Cannot use --network host with a virtual machine/ } }) },
  { what: "a device of the host",      flags: ["--device", "/dev/null:/dev/mine"], script: "echo x > /dev/mine && echo written", expect: { stdout: "written\n" },
    differs: machines({ why: "the host's devices are not the guest's", expect: { status: 125, stderr: /Cannot use --device with a virtual machine/ } }) },
  { what: "kernel",                    script: "uname -s; uname -m",              expect: { stdout: "Linux\nx86_64\n" } },
  { what: "the host's kernel is seen", script: "uname -r",                        expect: { stdout: /KERNEL/ },
    differs: machines({ why: "a machine has a kernel of its own", expect: { stdout: /^(?!KERNEL)/ } }) },
];
