/** Engines with systemd's cgroup driver, which is their default on cgroup v2: `--systemd`. */
import type { EngineRow } from "./row.ts";

const both = ["docker", "podman"] as const;

/** $CGROUP and $UNIT of the container. */
const find = `
locate() { CGROUP=/sys/fs/cgroup$(cut -d: -f3 /proc/$1/cgroup); UNIT=\${CGROUP##*/}; }
pid() { e inspect -f '{{.State.Pid}}' $NAME; }`;

// biome-ignore format: table
export const systemdRows: readonly EngineRow[] = [
  { id: "systemd-scope", engines: both, claim: "the container is a scope in the slice, with its limits, and gone afterwards",
    script: `${find}
run -d --memory 64m --pids-limit 77 $IMAGE sleep 100 >/dev/null; locate $(pid)
echo $CGROUP | grep -o '/mwengines.slice/[a-z]*-'; cat $CGROUP/memory.max $CGROUP/pids.max
systemctl show $UNIT -p MemoryMax -p TasksMax -p Delegate
e rm -f -t 0 $NAME >/dev/null 2>&1 || e rm -f $NAME >/dev/null; systemctl show $UNIT -p LoadState`,
    expect: /^\/mwengines\.slice\/\w+-\n67108864\n77\nDelegate=yes\nMemoryMax=67108864\nTasksMax=77\nLoadState=not-found$/ },
  { id: "systemd-update", engines: ["docker"], claim: "update changes the limits of the scope",
    script: `${find}
run -d --memory 64m $IMAGE sleep 100 >/dev/null; locate $(pid)
e update --memory 48m --memory-swap 96m --pids-limit 55 --cpu-shares 300 $NAME >/dev/null
cat $CGROUP/memory.max $CGROUP/pids.max $CGROUP/cpu.weight; systemctl show $UNIT -p MemoryMax -p TasksMax -p CPUWeight`,
    expect: /^50331648\n55\n12\nCPUWeight=12\nMemoryMax=50331648\nTasksMax=55$/ },
  { id: "systemd-exec", engines: both, claim: "exec and pause work on the scope, and a reload of systemd leaves it alone",
    script: `${find}
run -d --pids-limit 77 $IMAGE sleep 100 >/dev/null; locate $(pid)
e exec $NAME sh -c "echo in; exit 7"; echo rc=$?
e pause $NAME >/dev/null; cat $CGROUP/cgroup.freeze; e unpause $NAME >/dev/null; cat $CGROUP/cgroup.freeze
systemctl daemon-reload; cat $CGROUP/pids.max; e exec $NAME echo again`,
    expect: /^in\nrc=7\n1\n0\n77\nagain$/ },
  { id: "systemd-oom", engines: ["docker"], claim: "a container that the OOM killer ends is said to be, and leaves no failed unit",
    script: `${find}
run -d --memory 16m --memory-swap 16m $IMAGE sh -c 'sleep 1; x=$(head -c 40000000 /dev/zero | tr "\\0" x)' >/dev/null; locate $(pid)
e wait $NAME; e inspect -f '{{.State.OOMKilled}}' $NAME; e rm $NAME >/dev/null; systemctl show $UNIT -p LoadState`,
    expect: /^\d+\ntrue\nLoadState=not-found$/ },
  { id: "systemd-ctr", engines: ["containerd"], claim: "ctr's container is a scope in the slice, and gone afterwards",
    script: `${find}
run -d $IMAGE $NAME /bin/sleep 100; locate $(e tasks ls | awk -v n=$NAME '$1 == n { print $2 }')
echo $CGROUP | grep -o '/mwengines.slice/mw-'; systemctl show $UNIT -p Delegate
e tasks exec --exec-id x $NAME /bin/echo in; e tasks kill -s KILL $NAME; sleep 1; e tasks rm $NAME >/dev/null; e containers rm $NAME
systemctl show $UNIT -p LoadState`,
    expect: /^\/mwengines\.slice\/mw-\nDelegate=yes\nin\n(?:.|\n)*LoadState=not-found$/, varies: [/time="[^"]*"/] },
  { id: "rootless-scope", engines: ["podman-rootless"], claim: "an ordinary user's container is a scope of their own systemd, with its limits",
    script: `${find}
run -d --memory 64m --pids-limit 77 $IMAGE sleep 100 >/dev/null; locate $(pid)
echo $CGROUP | grep -o 'user@1000.service/user.slice/libpod-'; cat $CGROUP/memory.max $CGROUP/pids.max
e exec $NAME sh -c "id -u; exit 7"; echo rc=$?; e exec -u 33:34 $NAME id -u
e pause $NAME >/dev/null 2>&1; cat $CGROUP/cgroup.freeze; e unpause $NAME >/dev/null 2>&1
e rm -f -t 0 $NAME >/dev/null; ls -d $CGROUP 2>&1 | grep -o "No such file"`,
    expect: /^user@1000\.service\/user\.slice\/libpod-\n67108864\n77\n0\nrc=7\n33\n1\nNo such file$/ },
];
