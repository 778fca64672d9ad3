/**
 * What the door must know of a container to start, signal or delete it without JavaScript: a file
 * beside state.json, of the same owner and as private.
 *
 * ```
 * +0   u64 magic             +32  u32 freezer file: path       paths and texts: offset from the
 * +8   u32 PID               +36  u32 its first byte when          beginning, C strings, 0: none
 * +12  u32 may: bits below            frozen
 * +16  u32 start time: text  +40  u32 cgroup directories: C strings, an empty one ends them
 * +20  u32 /proc/PID/stat    +44  u32 start socket: sockaddr_un
 *                            +48  u32 its length
 * ```
 */
import { encodeUtf8 } from "../../linux/index.ts";
import type { CgroupPlace } from "../cgroups/cgroup.ts";

export const factsFile = "door";
/** Changes with this layout, so that a door of another version asks the executable. */
export const factsMagic = 0x3130_726f_6f64_776dn; // "mwdoor01", read as bytes
export const factsSizeLimit = 16 * 1024;

// biome-ignore format: table
export const facts = {
  size: 64, magic: 0, pid: 8, may: 12, startTime: 16, stat: 20, freezer: 32, frozen: 36,
  cgroups: 40, socket: 44, socketSize: 48,
} as const;

export const may = { start: 1, delete: 2 } as const;

export interface DoorFacts {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTime: number;
  /** Bits of `may`: what needs nothing but the kernel. */
  readonly may: number;
  readonly cgroup?: CgroupPlace | undefined;
  /** struct sockaddr_un of the socket that the container waits on, as long as its path. */
  readonly socket?: Uint8Array | undefined;
}

/** undefined when it does not fit. */
export function encodeFacts(container: DoorFacts): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  let end: number = facts.size;
  const put = (part: Uint8Array): number => {
    const at = end;
    parts.push(part);
    end += part.length;
    return at;
  };
  const text = (content: string) => put(encodeUtf8(`${content}\0`));
  const head = new Uint8Array(facts.size);
  const view = new DataView(head.buffer);
  const { pid, startTime, cgroup, socket } = container;
  view.setBigUint64(facts.magic, factsMagic, true);
  view.setUint32(facts.pid, pid, true);
  view.setUint32(facts.may, container.may, true);
  view.setUint32(facts.startTime, text(`${startTime} `), true);
  view.setUint32(facts.stat, text(`/proc/${pid}/stat`), true);
  if (cgroup !== undefined) {
    const [path, frozen] = freezerOf(cgroup);
    if (path !== undefined) view.setUint32(facts.freezer, text(path), true);
    view.setUint32(facts.frozen, frozen.charCodeAt(0), true);
    const directories = Object.values(cgroup.directories).join("\0");
    view.setUint32(facts.cgroups, text(`${directories}\0`), true);
  }
  if (socket !== undefined) {
    view.setUint32(facts.socket, put(socket), true);
    view.setUint32(facts.socketSize, socket.length, true);
  }
  return end < factsSizeLimit ? concatenate(head, parts, end) : undefined;
}

function concatenate(head: Uint8Array, parts: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  whole.set(head);
  let at = head.length;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** cgroup-v1/freezer-subsystem.rst: "FROZEN", "THAWED"; cgroup-v2.rst, cgroup.freeze: "1", "0". */
function freezerOf({ version, directories, controllers }: CgroupPlace) {
  if (version === 2) return [`${directories[""]}/cgroup.freeze`, "1"] as const;
  const directory = directories[controllers["freezer"] ?? ""];
  return [directory === undefined ? undefined : `${directory}/freezer.state`, "F"] as const;
}
