/**
 * Reads a seccomp profile file for --security-opt seccomp=FILE: docker's format, which adds
 * conditions (includes, excludes, archMap) to the runtime specification's, or the latter itself.
 * https://docs.docker.com/engine/security/seccomp/
 */
import {
  json,
  type Seccomp,
  type SeccompAction,
  type SeccompArchitecture,
  type SeccompArgument,
  type SeccompFlag,
  type SeccompOperator,
  type SeccompSyscall,
} from "../../oci/index.ts";

const { array, integer, object, optional, required, string } = json;

/** What the conditions of a profile are about. */
export interface ProfileFacts {
  readonly capabilities: readonly string[];
  /** Release of the kernel: "6.1.0-13-amd64". */
  readonly kernel: string;
  /** GOARCH: "amd64". */
  readonly architecture: string;
}

interface Conditions {
  readonly caps?: readonly string[];
  readonly arches?: readonly string[];
  readonly minKernel?: string;
}

interface ProfileSyscall {
  readonly name?: string;
  readonly names?: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly SeccompArgument[];
  readonly includes?: Conditions;
  readonly excludes?: Conditions;
}

interface ArchitectureMap {
  readonly architecture: string;
  readonly subArchitectures?: readonly string[];
}

interface Profile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly archMap?: readonly ArchitectureMap[];
  readonly flags?: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly ProfileSyscall[];
}

const MAX_ITEMS = 4096;
const limits = { maxBytes: 4 * 1024 * 1024, maxDepth: 16 };
const strings = array(string, MAX_ITEMS);

const conditions = object<Conditions>({
  caps: optional(strings),
  arches: optional(strings),
  minKernel: optional(string),
});

const argument = object<SeccompArgument>({
  index: required(integer),
  value: required(integer),
  valueTwo: optional(integer),
  op: required(string as json.Reader<SeccompOperator>),
});

const profileReader = object<Profile>({
  defaultAction: required(string),
  defaultErrnoRet: optional(integer),
  architectures: optional(strings),
  archMap: optional(
    array(
      object<ArchitectureMap>({
        architecture: required(string),
        subArchitectures: optional(strings),
      }),
      MAX_ITEMS,
    ),
  ),
  flags: optional(strings),
  listenerPath: optional(string),
  listenerMetadata: optional(string),
  syscalls: optional(
    array(
      object<ProfileSyscall>({
        name: optional(string),
        names: optional(strings),
        action: required(string),
        errnoRet: optional(integer),
        args: optional(array(argument, MAX_ITEMS)),
        includes: optional(conditions),
        excludes: optional(conditions),
      }),
      MAX_ITEMS,
    ),
  ),
});

/** @throws SpecError when it is no profile; unknown actions are found when it is compiled */
export function parseSeccompProfile(source: Uint8Array | string, facts: ProfileFacts): Seccomp {
  const profile = json.readJson(source, "seccomp profile", profileReader, limits);
  const { defaultErrnoRet, flags, listenerPath, listenerMetadata } = profile;
  // SAFE (casts below): the compiler refuses words that the specification does not have
  return {
    defaultAction: profile.defaultAction as SeccompAction,
    ...(defaultErrnoRet !== undefined && { defaultErrnoRet }),
    architectures: architecturesOf(profile, facts.architecture),
    ...(flags !== undefined && { flags: flags as readonly SeccompFlag[] }),
    ...(listenerPath !== undefined && { listenerPath }),
    ...(listenerMetadata !== undefined && { listenerMetadata }),
    syscalls: (profile.syscalls ?? []).filter((row) => applies(row, facts)).map(toSyscall),
  };
}

// biome-ignore format: table
const architectureNames: Readonly<Record<string, string>> = {
  amd64: "SCMP_ARCH_X86_64", arm64: "SCMP_ARCH_AARCH64", arm: "SCMP_ARCH_ARM", "386": "SCMP_ARCH_X86",
  riscv64: "SCMP_ARCH_RISCV64", s390x: "SCMP_ARCH_S390X", ppc64le: "SCMP_ARCH_PPC64LE",
};

function architecturesOf(profile: Profile, own: string): readonly SeccompArchitecture[] {
  const name = architectureNames[own];
  const mapped = profile.archMap?.find(({ architecture }) => architecture === name);
  const names =
    mapped === undefined
      ? (profile.architectures ?? [])
      : [mapped.architecture, ...(mapped.subArchitectures ?? [])];
  return names as readonly SeccompArchitecture[];
}

function applies({ includes, excludes }: ProfileSyscall, facts: ProfileFacts): boolean {
  const { caps = [], arches = [], minKernel } = includes ?? {};
  const has = (name: string): boolean => facts.capabilities.includes(name);
  if (!caps.every(has)) return false;
  if (arches.length > 0 && !arches.includes(facts.architecture)) return false;
  if (minKernel !== undefined && !isAtLeast(facts.kernel, minKernel)) return false;
  if (excludes?.caps?.some(has)) return false;
  if (excludes?.arches?.includes(facts.architecture)) return false;
  return excludes?.minKernel === undefined || !isAtLeast(facts.kernel, excludes.minKernel);
}

function isAtLeast(release: string, wanted: string): boolean {
  const [major = 0, minor = 0] = release.split(".", 2).map((part) => Number.parseInt(part, 10));
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split(".", 2).map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

function toSyscall(row: ProfileSyscall): SeccompSyscall {
  const { name, names = [], action, errnoRet, args = [] } = row;
  return {
    names: name === undefined ? names : [name, ...names],
    action: action as SeccompAction,
    ...(errnoRet !== undefined && { errnoRet }),
    ...(args.length > 0 && { args }),
  };
}
