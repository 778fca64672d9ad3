/** libseccomp as an oracle: builds the same profile with it, through Debian's python3-seccomp. */
import { spawnSync } from "node:child_process";
import { decodeInstructions } from "../../../linux/bpf-machine.ts";
import type { BpfInstruction } from "../../../linux/index.ts";
import type { Seccomp } from "../../../oci/index.ts";

/** Does what runc does with a profile; prints the filter in hexadecimal. */
const script = `
import json, os, seccomp, sys
from seccomp import *
p = json.load(sys.stdin)
acts = {"KILL": KILL, "KILL_THREAD": KILL, "KILL_PROCESS": KILL_PROCESS, "TRAP": TRAP,
        "ALLOW": ALLOW, "LOG": LOG, "NOTIFY": NOTIFY}
ops = {"NE": NE, "LT": LT, "LE": LE, "EQ": EQ, "GE": GE, "GT": GT, "MASKED_EQ": MASKED_EQ}
def act(name, errno):
    name = name[len("SCMP_ACT_"):]
    if name == "ERRNO": return ERRNO(1 if errno is None else errno)
    if name == "TRACE": return TRACE(1 if errno is None else errno)
    return acts[name]
default = act(p["defaultAction"], p.get("defaultErrnoRet"))
f = SyscallFilter(default)
for a in p.get("architectures", []):
    a = a[len("SCMP_ARCH_"):]
    if a != "X86_64": f.add_arch(getattr(Arch, a))
for s in p.get("syscalls", []):
    a = act(s["action"], s.get("errnoRet"))
    if a == default: continue
    for n in s["names"]:
        if resolve_syscall(Arch(Arch.NATIVE), n) == -1: continue
        args = [Arg(c["index"], ops[c["op"][len("SCMP_CMP_"):]], int(c["value"]), int(c.get("valueTwo", 0)))
                for c in s.get("args", [])]
        idx = [c["index"] for c in s.get("args", [])]
        if len(set(idx)) != len(idx):
            for one in args: f.add_rule(a, n, one)
        else: f.add_rule(a, n, *args)
r, w = os.pipe()
import threading
out = []
t = threading.Thread(target=lambda: out.append(os.fdopen(r, "rb").read()))
t.start()
with os.fdopen(w, "wb") as o: f.export_bpf(o)
t.join()
print(out[0].hex())
`;

/** undefined when python3-seccomp is not installed. */
export function libseccompFilter(profile: Seccomp): readonly BpfInstruction[] | undefined {
  const { status, stdout, stderr } = spawnSync("/usr/bin/python3", ["-c", script], {
    input: JSON.stringify(profile),
    encoding: "utf8",
  });
  if (stderr.includes("No module named 'seccomp'")) return undefined;
  if (status !== 0) throw new Error(`libseccomp refused the profile: ${stderr}`);
  return decodeInstructions(Buffer.from(stdout.trim(), "hex"));
}
