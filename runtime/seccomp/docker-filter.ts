/**
 * docker's default profile as a filter. What nearly every container has is compiled beforehand
 * (generated/docker-seccomp.ts): compiling takes longer than starting the container.
 */
import { dockerSeccompFilters } from "../generated/docker-seccomp.ts";
import { type EncodedFilter, encodeSeccomp } from "./compile.ts";
import { dockerSeccompProfile, relevantCapabilities } from "./default-profile.ts";

/** Sets of relevant capabilities that are compiled beforehand: docker's default set, and none. */
export const compiledBeforehand: readonly (readonly string[])[] = [["CAP_SYS_CHROOT"], []];

/** The filter for a process whose bounding set holds these capabilities. */
export function dockerSeccompFilter(capabilities: readonly string[]): EncodedFilter {
  const relevant = relevantCapabilities(capabilities);
  const key = relevant.join(" ");
  const base64 = Object.hasOwn(dockerSeccompFilters, key) ? dockerSeccompFilters[key] : undefined;
  if (base64 === undefined) return encodeSeccomp(dockerSeccompProfile(relevant));
  return { code: Buffer.from(base64, "base64"), flags: 0, notifies: false };
}
