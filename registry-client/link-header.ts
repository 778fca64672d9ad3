/** The Link header: where the next page is. RFC 8288 §3; distribution-spec 1.1, "Listing Tags". */

export const MAX_LINK_LENGTH = 16 * 1024;

/** The target of the first link whose rel includes "next"; undefined when there is none. */
export function nextLink(header: string | undefined): string | undefined {
  if (header === undefined || header.length > MAX_LINK_LENGTH) return undefined;
  const links =
    /<([^<>]*)>((?:[ \t]*;[ \t]*[\w*-]+(?:[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^",;<>\s]+))?)*)/g;
  for (const [, target, parameters = ""] of header.matchAll(links)) {
    const relations = (parameter(parameters, "rel") ?? "").toLowerCase().split(/\s+/);
    if (relations.includes("next")) return target;
  }
  return undefined;
}

/** The value of the first parameter of this name; read in order, as values may quote others. */
function parameter(parameters: string, name: string): string | undefined {
  const each = /;[ \t]*([\w*-]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^",;<>\s]+)))?/g;
  for (const [, found = "", quoted, plain] of parameters.matchAll(each)) {
    if (found.toLowerCase() === name) return quoted ?? plain;
  }
  return undefined;
}
