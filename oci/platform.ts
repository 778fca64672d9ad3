/**
 * Platforms: `os/architecture/variant`, their normal form, and which image suits which machine.
 *
 * OCI image-spec 1.1, image-index.md "platform"; names are Go's GOOS and GOARCH. Which other
 * variants a machine can run follows the processor manuals: ARMv8 in AArch32 state runs ARMv7 to
 * v5 code, x86-64-v3 runs v2 and v1, amd64 runs 386, and ARMv9.N contains ARMv8.(N+5).
 */
import { array, object, optional, type Reader, required, string } from "./json.ts";
import { quoteText, SpecError } from "./spec-error.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
}

const MAX_OS_FEATURES = 256;

/** Reads without normalising: what a manifest says stays what it says. */
export const platformReader: Reader<Platform> = object<Platform>({
  os: required(string),
  architecture: required(string),
  variant: optional(string),
  "os.version": optional(string),
  "os.features": optional(array(string, MAX_OS_FEATURES)),
});

const knownSystems = new Set(
  "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows".split(
    " ",
  ),
);
const knownArchitectures = new Set(
  "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x wasm".split(
    " ",
  ),
);
/** Other names → GOARCH and, where the name says so, the variant. */
const architectureAliases: Readonly<Record<string, readonly [string, string]>> = {
  i386: ["386", ""],
  x86_64: ["amd64", ""],
  "x86-64": ["amd64", ""],
  aarch64: ["arm64", ""],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};
/** Variant that is meant when none is written, and so never written in the normal form. */
const impliedVariants: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8" };

/** Parses `linux/arm64/v8`, `linux` or `arm64`; what is left out is the host's. */
export function parsePlatform(text: string, host: Platform = hostPlatform()): Platform {
  const parts = text.split("/");
  if (parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_.-]{1,64}$/.test(part))) {
    throw badPlatform(text, `expected "os/architecture" or "os/architecture/variant"`);
  }
  const [first = "", architecture, variant] = parts;
  if (architecture !== undefined) {
    return normalizePlatform({
      os: first,
      architecture,
      ...(variant === undefined ? {} : { variant }),
    });
  }
  const asOs = normalizePlatform({ ...host, os: first });
  if (knownSystems.has(asOs.os)) return asOs;
  const asArchitecture = normalizePlatform({ os: host.os, architecture: first });
  if (knownArchitectures.has(asArchitecture.architecture)) return asArchitecture;
  throw badPlatform(text, `expected a known operating system or architecture, as "linux/amd64"`);
}

export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return [os, architecture, variant].filter((part) => part !== undefined && part !== "").join("/");
}

/** Lower case, Go's names, and no variant where it is the implied one. */
export function normalizePlatform(platform: Platform): Platform {
  const { os, architecture, variant, ...rest } = platform;
  const system = os.toLowerCase() === "macos" ? "darwin" : os.toLowerCase();
  const alias = architectureAliases[architecture.toLowerCase()];
  const name = alias?.[0] ?? architecture.toLowerCase();
  const given = variant === undefined || variant === "" ? (alias?.[1] ?? "") : variant;
  const normal = normalizeVariant(name, given.toLowerCase());
  return { ...rest, os: system, architecture: name, ...(normal === "" ? {} : { variant: normal }) };
}

function normalizeVariant(architecture: string, variant: string): string {
  const withV = /^\d/.test(variant) ? `v${variant}` : variant;
  if (architecture === "arm") return withV === "" ? "v7" : withV;
  const short = architecture === "arm64" ? withV.replace(/\.0$/, "") : withV;
  return short === impliedVariants[architecture] ? "" : short;
}

/** The platform of container images that this machine runs by itself. */
export function hostPlatform(machine: string = process.arch): Platform {
  const names: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };
  // Images are Linux's even where the host is not: a virtual machine runs them there.
  return normalizePlatform({ os: "linux", architecture: names[machine] ?? machine });
}

/** All platforms that run on `wanted`, best first. */
export function compatiblePlatforms(wanted: Platform): readonly Platform[] {
  const { os, architecture, variant = "" } = normalizePlatform(wanted);
  const make = (name: string, version: string): Platform =>
    normalizePlatform({ os, architecture: name, ...(version === "" ? {} : { variant: version }) });
  switch (architecture) {
    case "amd64":
      return [...amd64Levels(variant).map((level) => make("amd64", level)), make("386", "")];
    case "arm":
      return armVersions(variant).map((version) => make("arm", version));
    case "arm64":
      return [
        ...arm64Versions(variant).map((version) => make("arm64", version)),
        ...armVersions("v8").map((version) => make("arm", version)),
      ];
    default:
      return [make(architecture, variant)];
  }
}

const MAX_VERSION = 99;

function amd64Levels(variant: string): readonly string[] {
  const level = /^v(\d{1,2})$/.exec(variant)?.[1];
  if (level === undefined) return variant === "" ? ["v1"] : [variant];
  return countDown(Number(level), 1).map((each) => `v${each}`);
}

function armVersions(variant: string): readonly string[] {
  const version = /^v(\d{1,2})$/.exec(variant)?.[1];
  if (version === undefined || Number(version) < 5) return [variant];
  return countDown(Number(version), 5).map((each) => `v${each}`);
}

function arm64Versions(variant: string): readonly string[] {
  const match = /^v([89])(?:\.(\d{1,2}))?$/.exec(variant === "" ? "v8" : variant);
  if (match === null) return [variant];
  const minor = Number(match[2] ?? 0);
  const eight = (highest: number) => countDown(highest, 0).map((each) => `v8.${each}`);
  if (match[1] === "8") return eight(minor);
  return [
    ...countDown(minor, 0).map((each) => (each === 0 ? "v9" : `v9.${each}`)),
    ...eight(Math.min(minor + 5, MAX_VERSION)),
  ];
}

function countDown(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, from - to + 1) }, (_, index) => from - index);
}

/** True when an image for `candidate` is exactly for `wanted`, once both are normalised. */
export function samePlatform(candidate: Platform, wanted: Platform): boolean {
  return formatPlatform(normalizePlatform(candidate)) === formatPlatform(normalizePlatform(wanted));
}

/**
 * Chooses the item whose platform suits `wanted` best; the earlier one among equals. An item
 * without platform is chosen only when no other suits; undefined when none does.
 */
export function choosePlatform<T extends { readonly platform?: Platform }>(
  items: readonly T[],
  wanted: Platform,
): T | undefined {
  for (const candidate of compatiblePlatforms(wanted)) {
    const found = items.find(
      ({ platform }) => platform !== undefined && samePlatform(platform, candidate),
    );
    if (found !== undefined) return found;
  }
  return items.find(({ platform }) => platform === undefined);
}

function badPlatform(text: string, expected: string): SpecError {
  return new SpecError({
    document: "platform",
    path: "",
    problem: `is ${quoteText(text)}, ${expected}`,
  });
}
