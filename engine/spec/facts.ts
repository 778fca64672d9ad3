/** Gathers what the plan of a container needs to know of the host and the image. */
import { existsSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import type { Seccomp } from "../../oci/index.ts";
import { dockerSeccompProfile } from "../../runtime/index.ts";
import { ContainerError } from "../errors.ts";
import type { ContainerOptions } from "../options.ts";
import { allCapabilities } from "./capabilities.ts";
import type { Facts } from "./config.ts";
import {
  cpuCount,
  hasSwapLimit,
  heldCapabilities,
  kernelRelease,
  maxOpenFiles,
  readDevices,
} from "./host.ts";
import type { LayerView } from "./layer-view.ts";
import type { NetworkFiles } from "./mounts.ts";
import { type RootlessIds, readRootlessIds } from "./rootless.ts";
import { parseSeccompProfile } from "./seccomp-profile.ts";
import {
  type Account,
  MAX_ACCOUNT_FILE_BYTES,
  parseGroup,
  parsePasswd,
  resolveUser,
} from "./users.ts";

export interface FactRequest {
  readonly id: string;
  readonly hostname: string;
  readonly files: NetworkFiles;
  readonly rootfs: string;
  readonly view: LayerView;
  readonly user: string;
  /** docker's default profile is wanted as a profile, not just as a filter. */
  readonly explains: boolean;
}

export function readFacts(options: ContainerOptions, request: FactRequest): Facts {
  const { id, hostname, files, rootfs, view, user, explains } = request;
  const held = heldCapabilities();
  // whoever makes a user namespace has all capabilities in it
  const isRootless = !held.includes("CAP_SYS_ADMIN");
  return {
    id,
    hostname,
    files,
    rootfs,
    account: readAccount(view, user, options.groups ?? []),
    held: isRootless ? allCapabilities : held,
    ...(isRootless && { rootless: ownIds() }),
    maxOpenFiles: maxOpenFiles(),
    devices: readDevices(options),
    cgroupsPath: `/manyworlds/${id}`,
    seccomp(capabilities) {
      const path = options.security?.seccomp;
      if (path !== undefined) return readSeccomp(path, capabilities);
      return explains ? dockerSeccompProfile(capabilities) : undefined;
    },
    // asked for only when a limit needs them
    get cpuCount() {
      return cpuCount();
    },
    get swapLimit() {
      return hasSwapLimit();
    },
  };
}

function ownIds(): RootlessIds {
  const path = (process.env["PATH"] ?? "").split(":");
  const has = (program: string): boolean => path.some((each) => existsSync(`${each}/${program}`));
  return readRootlessIds(has("newuidmap") && has("newgidmap"), accountNames());
}

/** What /etc/subuid may call us; a user ID without an account has no name. */
function accountNames(): readonly string[] {
  const uid = String(process.getuid?.() ?? 0);
  try {
    return [userInfo().username, uid];
  } catch {
    return [uid];
  }
}

function readAccount(view: LayerView, user: string, groups: readonly string[]): Account {
  return resolveUser(user, groups, {
    passwd: () => parsePasswd(view.readText("/etc/passwd", MAX_ACCOUNT_FILE_BYTES)),
    group: () => parseGroup(view.readText("/etc/group", MAX_ACCOUNT_FILE_BYTES)),
  });
}

export function readSeccomp(path: string, capabilities: readonly string[]): Seccomp {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new ContainerError(`Cannot read the seccomp profile "${path}"`, { cause });
  }
  const architecture = process.arch === "x64" ? "amd64" : process.arch;
  return parseSeccompProfile(bytes, { capabilities, kernel: kernelRelease(), architecture });
}
