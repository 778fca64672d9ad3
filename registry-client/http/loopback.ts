/**
 * Whether a host is this machine itself: localhost (RFC 6761 §6.3), 127.0.0.0/8 (RFC 1122
 * §3.2.1.3) or ::1. Takes URL.hostname, which has every form of an IPv4 address normalised.
 */
export function isLoopback(hostname: string): boolean {
  const name = hostname.toLowerCase().replace(/^\[|\]$/g, "");
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name) ||
    name === "::1"
  );
}
